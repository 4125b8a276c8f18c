"""Tables that Slurm's clients print, read so that no value can be taken for the end of a column.

A job's name may hold quotes, '|', newlines, anything. So what parts the columns is a word that
nobody can know beforehand.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence

from operators.slurm.client import ask
from resop import Shell

Row = dict[str, str]
_PAIR = re.compile(r"(?:^| )([A-Za-z][A-Za-z0-9_/:]*)=(\S*)")


def separator() -> str:
    """A word that stands behind each column: another one for each question."""
    return f"@{secrets.token_hex(4)}@"


def squeue(shell: Shell, columns: Mapping[str, str], *filters: str) -> list[Row]:
    """Rows of squeue; the columns are named, each with its letter as for --format.

    A user whom the cluster does not know is an OperationFailed.
    """
    end = separator()
    format = "".join(f"%{letter}{end}" for letter in columns.values())
    answer = ask(shell, "squeue", "--noheader", "--all", f"--format={format}", *filters)
    if "error: Invalid user" in answer.stderr:  # it answers no rows, and exit code 0
        shell.fail(answer.stderr.strip())
    return rows(answer.stdout, end, list(columns))


def sacct(shell: Shell, columns: Mapping[str, str], *filters: str) -> list[Row]:
    """Rows of sacct; the columns are named, each with its name as for --format."""
    end = separator()
    how = ("--noheader", "--parsable", f"--delimiter={end}")
    answer = ask(shell, "sacct", *how, f"--format={','.join(columns.values())}", *filters)
    return rows(answer.stdout, end, list(columns))


def sacctmgr(shell: Shell, columns: Sequence[str], *what: str) -> list[Row]:
    """Rows of `sacctmgr show`. It parts columns by '|', so a free text is to be the last one."""
    how = ("--noheader", "--parsable2", "--readonly", "show")
    answer = ask(shell, "sacctmgr", *how, *what, f"format={','.join(columns)}")
    found = (line.split("|", len(columns) - 1) for line in answer.lines)
    return [dict(zip(columns, cells, strict=False)) for cells in found]


def rows(text: str, end: str, names: Sequence[str]) -> list[Row]:
    """The rows of a text in which `end` stands behind each column, and a newline behind those."""
    cells = text.split(end)[:-1]
    starts = range(0, len(cells), len(names))
    found = [dict(zip(names, cells[at : at + len(names)], strict=True)) for at in starts]
    for row in found:
        row[names[0]] = row[names[0]].removeprefix("\n")
    return found


def records(lines: Iterable[str]) -> list[Row]:
    """What `scontrol --oneliner show` printed: `Name=value` pairs, a record on each line."""
    return [dict(_PAIR.findall(line)) for line in lines if line.strip()]
