"""Stream rows as JSON, as newline-delimited JSON or as CSV."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fastapi.responses import StreamingResponse

from resop.steps.csv_text import csv_lines


def ndjson_response(rows: Iterable[Mapping[str, Any]]) -> StreamingResponse:
    """Return a response with one JSON object per line; rows are produced while it is sent."""
    lines = (f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    return StreamingResponse(lines, media_type="application/x-ndjson")


def json_list_response(rows: Iterable[Mapping[str, Any]]) -> StreamingResponse:
    """Return a response with a JSON list of objects; rows are produced while it is sent."""
    return StreamingResponse(_json_list(rows), media_type="application/json")


def _json_list(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    separator = "[\n"
    for row in rows:
        yield f"{separator}{json.dumps(row, ensure_ascii=False)}"
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"


def csv_response(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> StreamingResponse:
    """Return a CSV response (RFC 4180) with a header row; rows are produced while it is sent.

    No cell is a formula.
    """
    return StreamingResponse(csv_lines(columns, rows), media_type="text/csv")
