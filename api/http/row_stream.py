"""Stream rows as newline-delimited JSON or as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fastapi.responses import StreamingResponse

from resop.plain_text import inert_cell


def ndjson_response(rows: Iterable[Mapping[str, Any]]) -> StreamingResponse:
    """Return a response with one JSON object per line; rows are produced while it is sent."""
    lines = (f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    return StreamingResponse(lines, media_type="application/x-ndjson")


def csv_response(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> StreamingResponse:
    """Return a CSV response (RFC 4180) with a header row; rows are produced while it is sent.

    No cell is a formula: users choose notes and parameters, and programs choose their output.
    """
    return StreamingResponse(_csv(columns, rows), media_type="text/csv")


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([inert_cell(name) for name in columns])
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in columns])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _cell(value: Any) -> Any:
    """Return numbers and null as they are, text without formulas, lists and objects as JSON."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return inert_cell(value)
