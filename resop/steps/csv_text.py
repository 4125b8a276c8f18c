"""Write rows as CSV (RFC 4180) in which no cell is a formula."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from resop.plain_text import inert_cell


def csv_lines(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the header and then each row, as text.

    Users choose notes and parameters, and programs choose their output: a text that a spreadsheet
    would calculate is quoted. Lists and objects are JSON.
    """
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
