"""The columns of a table: a heading, where the value is, and how it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resop_client.cli import human

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column; the first columns of a table are the last to be left out."""

    heading: str
    value: str | Callable[[Row], Any]
    """The name of a member, or a function of the row."""
    write: Callable[[Any], str] = human.text
    right: bool = False
    """True for numbers, which are aligned at the right."""

    def text(self, row: Row) -> str:
        """Return the cell of a row."""
        found = self.value(row) if callable(self.value) else row.get(self.value)
        return self.write(found)


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """Return a column for each member that any row has, in their order."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [
        Column(name.upper(), name, right=all(_is_number(row.get(name)) for row in rows))
        for name in names
        if any(row.get(name) not in (None, [], {}) for row in rows)
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
