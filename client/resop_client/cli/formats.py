"""Write results: as a table for people, or as JSON, lines of JSON, CSV or ids for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from resop_client.table import table_of

Format = Literal["table", "json", "ndjson", "csv", "id"]
FORMATS: tuple[Format, ...] = get_args(Format)
ID_NAMES = ("id", "job", "task", "batch", "name", "profile", "index", "number")
"""The members that identify an object, the best first."""


def as_text(value: Any, kind: Format) -> str:
    """Return a result in one of the formats for programs."""
    match kind:
        case "json":
            return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        case "ndjson":
            return "".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in rows_of(value))
        case "csv":
            return table_of(_as_row(each) for each in rows_of(value)).to_csv()
        case "id":
            return "".join(f"{each}\n" for each in map(identifier, rows_of(value)) if each != "")
        case "table":
            raise AssertionError("a table is not written here")


def rows_of(value: Any) -> Sequence[Any]:
    """Return the elements of a list, or one value as the only element."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _as_row(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {"value": value}


def identifier(value: Any) -> Any:
    """Return what identifies a result: a member such as `id`, or the value itself."""
    if not isinstance(value, Mapping):
        return value
    return next((value[name] for name in ID_NAMES if value.get(name) is not None), "")


def write(text: str) -> None:
    """Write a result to standard output; characters that it cannot have are replaced."""
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()
