"""Say in plain English what is wrong with a value that pydantic refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_INVALID = "is not valid"

_ERROR_TYPES: Mapping[str, str] = {
    "is required": "missing missing_argument missing_keyword_only_argument "
    "missing_positional_only_argument default_factory_not_called",
    "is not a known name": "extra_forbidden no_such_attribute unexpected_keyword_argument "
    "unexpected_positional_argument",
    "must be given only once": "multiple_argument_values",
    "cannot be changed": "frozen_field frozen_instance",
    "must not contain itself": "recursion_loop",
    "is nested too deeply": "recursion_depth_exceeded",
    "must be JSON text": "json_type",
    "must be JSON: {error}": "json_invalid",
    "must be an object (names with values)": "model_type model_attributes_type dataclass_type "
    "dataclass_exact_type named_tuple_type dict_type frozen_dict_type ordered_dict_type "
    "counter_type mapping_type arguments_type",
    "must have names that are text": "invalid_key",
    "must be null": "none_required",
    # Numbers
    "must be true or false": "bool_type bool_parsing",
    "must be a whole number": "int_type int_parsing int_from_float",
    "must be a number": "float_type float_parsing complex_type complex_str_parsing",
    "must be a decimal number, such as 12.5": "decimal_type decimal_parsing",
    "must be a fraction, such as 1/3": "fraction_type fraction_parsing",
    "must be a finite number": "finite_number",
    "must be more than {gt}": "greater_than",
    "must be at least {ge}": "greater_than_equal",
    "must be less than {lt}": "less_than",
    "must be at most {le}": "less_than_equal",
    "must be a multiple of {multiple_of}": "multiple_of",
    "has too many digits": "int_parsing_size",
    "must have at most {max_digits} digits": "decimal_max_digits",
    "must have at most {decimal_places} digits after the decimal point": "decimal_max_places",
    "must have at most {whole_digits} digits before the decimal point": "decimal_whole_digits",
    # Text
    "must be text": "string_type bytes_type set_item_not_hashable",
    "must be UTF-8 text": "string_unicode",
    "must be ASCII text": "string_not_ascii",
    "must have at least {min_length} characters": "string_too_short",
    "must have at most {max_length} characters": "string_too_long url_too_long",
    "must have at least {min_length} bytes": "bytes_too_short",
    "must have at most {max_length} bytes": "bytes_too_long",
    "must be encoded as {encoding}": "bytes_invalid_encoding",
    "does not have the expected form": "string_pattern_mismatch",
    "must be {expected}": "enum literal_error",
    "must be a URL, such as https://host.example/path": "url_type url_parsing url_syntax_violation",
    "must be a URL that begins with {expected_schemes}": "url_scheme",
    "must be a UUID": "uuid_type uuid_parsing",
    "must be a UUID of version {expected_version}": "uuid_version",
    # Lists
    "must be a list": "list_type iterable_type deque_type tuple_type set_type frozen_set_type",
    "must have at least {min_length} items": "too_short",
    "must have at most {max_length} items": "too_long",
    # Dates and times
    "must be a date, such as 2026-11-29": "date_type date_parsing date_from_datetime_parsing "
    "date_from_datetime_inexact",
    "must be a time of day, such as 12:00:00": "time_type time_parsing",
    "must be a date and time, such as 2026-11-29T12:00:00Z": "datetime_type datetime_parsing "
    "datetime_object_invalid datetime_from_date_parsing",
    "must be in the past": "date_past datetime_past",
    "must be in the future": "date_future datetime_future",
    "needs a time zone, such as 2026-11-29T12:00:00Z": "timezone_aware",
    "must not have a time zone: write it as 2026-11-29T12:00:00": "timezone_naive",
    "must have a time zone that is {tz_expected} s ahead of UTC": "timezone_offset",
    "must be a duration in seconds, such as 90": "time_delta_type time_delta_parsing",
    # Python objects, which no request and no file contains
    _INVALID: "get_attribute_error needs_python_object iteration_error is_instance_of "
    "is_subclass_of callable_type missing_sentinel_error ellipsis_error "
    "union_tag_invalid union_tag_not_found",
}
"""Each message with the error types of pydantic that it stands for."""

_MESSAGES = {kind: message for message, kinds in _ERROR_TYPES.items() for kind in kinds.split()}
_SINGULAR = re.compile(r"\b1 (item|character|byte|digit)s\b")


def _short(value: Any) -> Any:
    """Return 5 for 5.0: a limit of a float option is often declared as a whole number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def validation_message(error: Mapping[str, Any]) -> str:
    """Return the message for one item of `ValidationError.errors()`, without the value.

    The message is a predicate that follows the name of a field: "must be at most 500". The text
    of a ValueError or PydanticCustomError that a validator raised is returned unchanged.
    """
    kind = error["type"]
    context = {name: _short(value) for name, value in error.get("ctx", {}).items()}
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error") or "") or _INVALID
    if kind in _MESSAGES:
        return _SINGULAR.sub(r"1 \1", _MESSAGES[kind].format_map(context))
    return _INVALID if error["msg"].startswith("Input ") else error["msg"]
