"""Read the tables that Slurm's clients print, whatever characters the values contain.

A job's name may contain quotes, '|' or newlines. So each query separates its columns with a new
random word, which no value can contain except by chance.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence

from operators.slurm.client import ask, unreadable
from operators.slurm.parsing import JobId
from resop import Result, Shell

TableRow = dict[str, str]
# squeue prints it where SLURM_CLUSTERS is set by a wrapper.
_HEADER = re.compile(r"^CLUSTER: .*$", re.MULTILINE)
_PAIR = re.compile(r"(?:^| )([A-Za-z][A-Za-z0-9_/:]*)=(\S*)")


def separator() -> str:
    """Return the word that ends each column: a new one for each query."""
    return f"@{secrets.token_hex(4)}@"


def squeue(shell: Shell, columns: Mapping[str, str], *filters: str) -> list[TableRow]:
    """Return squeue's rows; `columns` maps our names to the letters of its --format.

    Raises OperationFailed for a user that the cluster does not know.
    """
    end = separator()
    format = "".join(f"%{letter}{end}" for letter in columns.values())
    answer = ask(shell, "squeue", "--noheader", "--all", f"--format={format}", *filters)
    if "error: Invalid user" in answer.stderr:  # squeue prints no rows, and exits with 0
        shell.fail(answer.stderr.strip())
    return job_rows("squeue", answer, end, list(columns))


def sacct(shell: Shell, columns: Mapping[str, str], *filters: str) -> list[TableRow]:
    """Return sacct's rows; `columns` maps our names to those of its --format."""
    end = separator()
    style = ("--noheader", "--parsable", f"--delimiter={end}")
    answer = ask(shell, "sacct", *style, f"--format={','.join(columns.values())}", *filters)
    return job_rows("sacct", answer, end, list(columns))


def sacctmgr(shell: Shell, columns: Sequence[str], *query: str) -> list[TableRow]:
    """Return the rows of `sacctmgr show`.

    Its columns are separated by '|': a column with free text must be the last one.
    """
    style = ("--noheader", "--parsable2", "--readonly", "show")
    answer = ask(shell, "sacctmgr", *style, *query, f"format={','.join(columns)}")
    lines = [line.split("|", len(columns) - 1) for line in answer.lines]
    if any(len(cells) < len(columns) for cells in lines):
        raise unreadable("sacctmgr", answer.stdout)
    return [dict(zip(columns, cells, strict=True)) for cells in lines]


def job_rows(program: str, answer: Result, end: str, names: Sequence[str]) -> list[TableRow]:
    """Return the rows of a table of jobs.

    Lines that a site's wrapper prints before a row are skipped. Raises OperationFailed for a text
    that is not such a table, or only a part of it.
    """
    try:
        table = rows(answer.stdout, end, names)
        for row in table:
            JobId.parse(row["id"])
            int(re.split(r"\D", row.get("raw_id", row["id"]))[0])
    except ValueError:
        raise unreadable(program, answer.stdout) from None
    return table


def rows(text: str, end: str, names: Sequence[str]) -> list[TableRow]:
    """Split a table in which `end` follows each column, and a newline each row.

    Of the first column, an id, only the last line counts. Raises ValueError for a table that ends
    within a row.
    """
    *cells, rest = text.split(end)
    if _HEADER.sub("", rest).strip():
        raise ValueError("the table ends within a row")
    starts = range(0, len(cells), len(names))
    table = [dict(zip(names, cells[at : at + len(names)], strict=True)) for at in starts]
    for row in table:
        row[names[0]] = row[names[0]].rpartition("\n")[2]
    return table


def records(lines: Iterable[str]) -> list[TableRow]:
    """Parse the output of `scontrol --oneliner show`: `Name=value` pairs, one record per line."""
    return [dict(_PAIR.findall(line)) for line in lines if line.strip()]
