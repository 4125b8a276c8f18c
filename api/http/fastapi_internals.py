"""Everything that relies on undocumented details of FastAPI.

tests/unit/api/http/test_library_internals.py fails when one of them changes.
"""

from __future__ import annotations

from typing import Any

from fastapi.exceptions import RequestValidationError

from resop.pydantic_messages import validation_message

VALIDATION_SCHEMAS = ("HTTPValidationError", "ValidationError")
"""The schemas that FastAPI adds to an OpenAPI document for its own 422 responses."""

DEFAULT_DESCRIPTION = "Successful Response"
"""The description of a response for which a route declares none."""


def request_faults(error: RequestValidationError) -> list[dict[str, str]]:
    """Return the invalid parameters of a request as `[{"field", "message"}, …]`.

    The first part of a location is the kind of the parameter: path, query, header or body.
    """
    return [
        {"field": ".".join(map(str, each["loc"][1:])), "message": validation_message(each)}
        for each in error.errors()
    ]


def without_validation_schemas(document: dict[str, Any]) -> None:
    """Remove FastAPI's own error schemas from an OpenAPI document: resop answers another shape."""
    for name in VALIDATION_SCHEMAS:
        document["components"]["schemas"].pop(name, None)
