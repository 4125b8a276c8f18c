"""Tables that are streamed: a JSON object a line, or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fastapi.responses import StreamingResponse


def ndjson(rows: Iterable[Mapping[str, Any]]) -> StreamingResponse:
    """A JSON object a line; rows are made as they are sent."""
    lines = (f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    return StreamingResponse(lines, media_type="application/x-ndjson")


def table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> StreamingResponse:
    """CSV (RFC 4180) with a row of names; what is no text, number or time is JSON."""
    return StreamingResponse(_csv(columns, rows), media_type="text/csv")


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in columns])
        yield text.getvalue()
        text.seek(0)
        text.truncate()
    yield text.getvalue()


def _cell(value: Any) -> Any:
    """A bare value for text, numbers and null; JSON for lists and objects."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
