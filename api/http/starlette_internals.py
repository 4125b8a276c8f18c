"""Everything that relies on undocumented details of starlette.

tests/unit/api/http/test_library_internals.py fails when one of them changes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from starlette.datastructures import FormData, Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.types import Scope

from resop.errors import InvalidOptions


def is_routed(scope: Scope) -> bool:
    """Return True once the router has found an endpoint for the request's path."""
    return "endpoint" in scope


async def parse_multipart(headers: Headers, body: bytes, max_field_bytes: int) -> FormData:
    """Parse a multipart form. Raises InvalidOptions if `body` is not one."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        return await MultiPartParser(headers, chunks(), max_part_size=max_field_bytes).parse()
    except MultiPartException as fault:
        message = f"is not a form that can be read: {fault.message}"
        raise InvalidOptions.of("body", message) from None
