"""The JSON schema of an action's options: everything that a request may send."""

from __future__ import annotations

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

TIME_PATTERN = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)?)?$"
"""A date, or a date and a time, with or without seconds and time zone."""


class OptionSchemas(GenerateJsonSchema):
    """Writes the schemas of options; pydantic alone leaves out what it converts."""

    def str_schema(self, schema: core_schema.StringSchema) -> JsonSchemaValue:
        """Return the schema of a text, which may be sent as a number if that is converted."""
        found = super().str_schema(schema)
        if schema.get("coerce_numbers_to_str"):
            found["type"] = ["string", "integer"]
        return found

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        """Return the schema of a time; `date-time` would refuse one without a time zone."""
        if schema.get("tz_constraint") == "aware":
            return super().datetime_schema(schema)
        return {"type": "string", "pattern": TIME_PATTERN}
