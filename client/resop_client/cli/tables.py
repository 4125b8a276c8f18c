"""Tables and lists of members on the terminal, as wide as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resop_client.cli import human
from resop_client.cli.columns import Column, Row

if TYPE_CHECKING:
    from rich.console import Console

MIN_COLUMNS = 3
"""The number of columns that stay, however narrow the terminal is."""
GAP = 2
MIN_WIDTH = 8
STATE_STYLES = {
    "green": "succeeded completed idle up created changed running allocated mixed allowed",
    "red": "failed lost down drained drain error timeout timed_out out_of_memory node_fail "
    "boot_fail deadline inactive refused",
    "yellow": "queued pending pending_approval suspended cancelled draining maint completing "
    "reserved planned preempted requeued",
}
_STYLE_BY_STATE = {
    state: style for style, states in STATE_STYLES.items() for state in states.split()
}


def print_table(console: Console, rows: Sequence[Row], columns: Sequence[Column]) -> int:
    """Print a table; return how many columns were left out since the terminal is too narrow.

    If it still does not fit, the last column that is shown becomes narrower.
    """
    from rich.table import Table
    from rich.text import Text

    cells = [[column.text(row) for column in columns] for row in rows]
    widths = _widths(columns, cells)
    shown = _columns_that_fit(console.width, widths) if console.is_terminal else len(columns)
    rest = max(console.width - sum(width + GAP for width in widths[: shown - 1]), MIN_WIDTH)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for number, column in enumerate(columns[:shown], 1):
        table.add_column(
            Text(column.heading),
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=min(widths[number - 1], rest) if number == shown else widths[number - 1],
        )
    for row in cells:
        table.add_row(*(Text(cell, style=state_style(cell)) for cell in row[:shown]))
    console.print(table, crop=False)
    return len(columns) - shown


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[int]:
    """Return the width that each column needs."""
    from rich.cells import cell_len

    return [
        max(cell_len(text) for text in (column.heading, *(row[number] for row in cells)))
        for number, column in enumerate(columns)
    ]


def _columns_that_fit(width: int, widths: Sequence[int]) -> int:
    total = 0
    for number, needed in enumerate(widths):
        total += needed + GAP
        if total - GAP > width and number >= MIN_COLUMNS:
            return number
    return len(widths)


def print_members(console: Console, row: Row) -> None:
    """Print the members of one object, each in its line; those without a value are left out."""
    from rich.text import Text

    shown = {name: value for name, value in row.items() if value not in (None, "", [], {})}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        line = Text(f"{name:{width}}  ", style="bold")
        written = human.text(value)
        line.append(Text(written, style=f"not bold {state_style(written)}".strip()))
        console.print(line, soft_wrap=True)


def state_style(text: str) -> str:
    """Return the colour of a cell that is a state, or begins with one; empty for other text."""
    word = text.partition("+")[0].partition(" ")[0].rstrip("*~#!%$@^-").lower()
    return _STYLE_BY_STATE.get(word, "")
