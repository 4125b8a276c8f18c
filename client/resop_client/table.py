"""Results as a table: rows that are records, with the same columns."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resop_client.record import Record

if TYPE_CHECKING:
    import pandas


class Table(list[Record]):
    """A list of rows; `columns` are the names of their members."""

    @property
    def columns(self) -> list[str]:
        """The names of all columns, in order."""
        return list(dict.fromkeys(name for row in self for name in row))

    def column(self, name: str) -> list[Any]:
        """Return the values of a column; None where a row has none."""
        return [row.get(name) for row in self]

    def to_pandas(self) -> pandas.DataFrame:
        """Return the table as a DataFrame. Needs pandas."""
        import pandas

        return pandas.DataFrame(list(self), columns=self.columns)

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return the table as CSV (RFC 4180), and write it to a file if `path` is given."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(self.columns)
        writer.writerows([_cell(row.get(name)) for name in self.columns] for row in self)
        if path is not None:
            Path(path).write_text(text.getvalue(), encoding="utf-8", newline="")
        return text.getvalue()


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def parse_file(name: str, text: str) -> Any:
    """Return the content of a result's file: JSON, a number, the rows of a CSV file, or text."""
    stripped = text.strip()
    try:
        if name.endswith(".json"):
            return json.loads(stripped, object_hook=Record)
        if name.endswith(".csv"):
            return [Record(row) for row in csv.DictReader(io.StringIO(text))]
        number = float(stripped)
    except (ValueError, csv.Error):
        return text
    return int(stripped) if stripped.lstrip("+-").isdecimal() else number


def table_of(rows: Iterable[dict[str, Any]]) -> Table:
    """Return a table of rows."""
    return Table(Record(row) for row in rows)
