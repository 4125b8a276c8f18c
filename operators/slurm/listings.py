"""Read the tables that Slurm's clients print, whatever characters the values contain.

A job's name may contain quotes, '|' or newlines. So each query separates its columns with a new
random word, which no value can contain except by chance.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from itertools import count

from operators.slurm.client import ask, unreadable
from operators.slurm.parsing import JOB_ID
from resop import Result, Shell

TableRow = dict[str, str]
PART_LENGTH = 1 << 20
"""Characters of a table that are split at once."""

# squeue prints it where SLURM_CLUSTERS is set by a wrapper.
_HEADER = re.compile(r"^CLUSTER: .*$", re.MULTILINE)
_IDS = re.compile(rf"(?:{JOB_ID}) [0-9]+(?:\D.*)?", re.DOTALL)
# A value may contain spaces, as names of groups in a Windows domain do.
_PAIR = re.compile(r"(?<!\S)([A-Z]\w*)=(.*?)(?=\s+[A-Z]\w*=|\s*$)")


_words: ContextVar[Iterator[str] | None] = ContextVar("words", default=None)


def separator() -> str:
    """Return the word that ends each column: a new one for each query."""
    words = _words.get()
    return f"@{secrets.token_hex(4) if words is None else next(words)}@"


@contextlib.contextmanager
def repeatable_separators(seed: str) -> Iterator[None]:
    """Use the same separators inside whenever the seed is the same, as a resumed operation must.

    A row that one of them breaks is an error, not a wrong value.
    """
    digests = (hashlib.sha256(f"{seed} {n}".encode()).hexdigest() for n in count())
    token = _words.set(digest[:8] for digest in digests)
    try:
        yield
    finally:
        _words.reset(token)


def squeue(shell: Shell, columns: Mapping[str, str], *filters: str) -> Iterator[TableRow]:
    """Yield squeue's rows; `columns` maps our names to the letters of its --format.

    Raises OperationFailed for a user that the cluster does not know.
    """
    end = separator()
    format = "".join(f"%{letter}{end}" for letter in columns.values())
    answer = ask(shell, "squeue", "--noheader", "--all", f"--format={format}", *filters)
    if "error: Invalid user" in answer.stderr:  # squeue prints no rows, and exits with 0
        shell.fail(answer.stderr.strip())
    return iterate_job_rows("squeue", answer, end, list(columns))


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
    return [*iterate_job_rows(program, answer, end, names)]


def iterate_job_rows(
    program: str, answer: Result, end: str, names: Sequence[str]
) -> Iterator[TableRow]:
    """Yield the rows of a table of jobs one by one, for tables that may be large."""
    try:
        for row in iterate_rows(answer.stdout, end, names):
            id, raw_id = row["id"], row.get("raw_id", row["id"])
            if not (id == raw_id and id.isdecimal()) and not _IDS.fullmatch(f"{id} {raw_id}"):
                raise ValueError("this is not the id of a job")
            yield row
    except ValueError:
        raise unreadable(program, answer.stdout) from None


def rows(text: str, end: str, names: Sequence[str]) -> list[TableRow]:
    """Split a table in which `end` follows each column, and a newline each row.

    Of the first column, an id, only the last line counts. Raises ValueError for a table that ends
    within a row.
    """
    return [*iterate_rows(text, end, names)]


def iterate_rows(text: str, end: str, names: Sequence[str]) -> Iterator[TableRow]:
    """Yield the rows of such a table one by one, for tables that may be large."""
    width, cells, position = len(names), list[str](), 0
    while position < len(text):
        # A part of the text at a time: a small string for each cell takes three times the memory.
        stop = text.rfind(end, position, position + PART_LENGTH)
        stop = text.find(end, position) if stop < 0 else stop
        if stop < 0:
            break
        cells += text[position:stop].split(end)
        position = stop + len(end)
        complete = len(cells) - len(cells) % width
        for at in range(0, complete, width):
            row = dict(zip(names, cells[at : at + width], strict=True))
            row[names[0]] = row[names[0]].rpartition("\n")[2]
            yield row
        del cells[:complete]
    if cells or _HEADER.sub("", text[position:]).strip():
        raise ValueError("the table ends within a row")


def scontrol(shell: Shell, *words: str) -> str:
    """Return what scontrol prints. Raises OperationFailed if it ends within a line."""
    answer = ask(shell, "scontrol", *words)
    if answer.stdout and not answer.stdout.endswith("\n"):
        raise unreadable("scontrol", answer.stdout)
    return answer.stdout


def records(lines: Iterable[str]) -> list[TableRow]:
    """Parse the output of `scontrol --oneliner show`: `Name=value` pairs, one record per line."""
    return [dict(_PAIR.findall(line)) for line in lines if line.strip()]
