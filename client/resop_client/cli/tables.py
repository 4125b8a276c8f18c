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
    """Print a table; return how many columns were left out since the terminal is too narrow."""
    from rich.table import Table
    from rich.text import Text

    cells = [[column.text(row) for column in columns] for row in rows]
    shown = len(columns)
    if console.is_terminal:
        shown = _columns_that_fit(console.width, columns, cells)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for column in columns[:shown]:
        table.add_column(
            Text(column.heading),
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in cells:
        table.add_row(*(Text(cell, style=state_style(cell)) for cell in row[:shown]))
    console.print(table, crop=False)
    return len(columns) - shown


def _columns_that_fit(width: int, columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> int:
    from rich.cells import cell_len

    total = 0
    for number, column in enumerate(columns):
        longest = max((cell_len(row[number]) for row in cells), default=0)
        total += max(longest, cell_len(column.heading)) + GAP
        if total - GAP > width and number >= MIN_COLUMNS:
            return number
    return len(columns)


def print_members(console: Console, row: Row) -> None:
    """Print the members of one object, each in its line; those without a value are left out."""
    from rich.text import Text

    shown = {name: value for name, value in row.items() if value not in (None, [], {})}
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
