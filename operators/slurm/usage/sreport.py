"""Run sreport(1), and parse its reports of usage by cluster, account, user or job size.

sreport reads hourly summaries, so usage since the last full hour is missing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from functools import partial
from typing import Annotated

from pydantic import BeforeValidator, Field, NaiveDatetime
from typing_extensions import TypedDict

from operators.slurm import parsing
from operators.slurm.client import ask, unreadable
from operators.slurm.job_types import Timestamp
from operators.slurm.report_words import read_day
from resop import ErrorMessage, Shell

ResourceName = Annotated[
    str,
    Field(pattern="^[A-Za-z0-9_/:.-]+$", max_length=255),
    ErrorMessage("must be a resource such as cpu, mem or gres/gpu"),
]
ReportTime = Annotated[
    date | NaiveDatetime,
    ErrorMessage(
        "must be a day such as 2024-05-01, or a time without a zone such as 2024-05-01T12:00"
    ),
    BeforeValidator(read_day),
]
"""A day or a time of the login node."""

# sreport's columns that are not figures.
_LABEL_COLUMNS = {
    "Cluster": "cluster",
    "Account": "account",
    "Login": "user",
    "Proper Name": "full_name",
    "WCKey": "wckey",
    "Wckey": "wckey",
    "Name": "reservation",
    "TRES Name": "resource",
    "Start": "start",
    "End": "end",
}
_FIGURE_NAMES = {"PLND Down": "planned_down"}
_SPAN = re.compile(r"\b([0-9]{9,}) - ([0-9]{9,})\b")
REPORTS_AT_ONCE = 8
"""Reports that one sreport makes at least, before another one is started beside it."""
PROCESSES = 5
_PROMPT = "sreport: "
_RULE = "-----"


class ReportRow(TypedDict):
    """One line of a report; a column that the report does not have is None."""

    cluster: str | None
    account: str | None
    user: str | None
    full_name: str | None
    wckey: str | None
    reservation: str | None
    resource: str | None
    """The resource the figures count: cpu, mem, gres/gpu, …"""
    figures: dict[str, float]
    """`used`; or `allocated`, `idle`, `down`, …; or usage by job size, such as `0-49 CPUs`."""


class ReportPeriod(TypedDict):
    """A month, or the whole time span."""

    start: Timestamp
    end: Timestamp
    """The first second after the period."""
    rows: list[ReportRow]
    total: list[ReportRow]
    """The sum of the rows by resource; rows of accounts that sum up their users do not count."""


def run_report(shell: Shell, flags: Sequence[str], words: Sequence[str]) -> ReportPeriod:
    """Return one report; `words` name it, its start and end, and filters."""
    answer = ask(shell, "sreport", "--parsable2", *flags, *words)
    try:
        return _parse_report(answer.lines)
    except IndexError:
        raise unreadable("sreport", answer.stdout) from None


def run_reports(
    shell: Shell, flags: Sequence[str], reports: Sequence[Sequence[str]]
) -> list[ReportPeriod]:
    """Return several reports in their order; their words must not contain spaces or quotes.

    sreport reads one report a line from its input, and needs a tenth of a second for each.
    """
    size = max(REPORTS_AT_ONCE, math.ceil(len(reports) / PROCESSES))
    parts = [reports[at : at + size] for at in range(0, len(reports), size)]
    periods = shell.map(partial(_run_some, shell, flags), parts, at_once=PROCESSES)
    return [period for part in periods for period in part]


def _run_some(
    shell: Shell, flags: Sequence[str], reports: Sequence[Sequence[str]]
) -> list[ReportPeriod]:
    commands = [" ".join(words) for words in reports]
    answer = ask(shell, "sreport", "--parsable2", *flags, input="\n".join([*commands, "quit", ""]))
    try:
        periods = [_parse_report(lines) for lines in _split_reports(answer.lines)]
    except IndexError:
        raise unreadable("sreport", answer.stdout) from None
    if len(periods) != len(commands):
        raise unreadable("sreport", answer.stdout)
    return periods


def read_rollup_time(shell: Shell) -> str | None:
    """Return when slurmdbd last summed up the usage; None unless the user is an administrator."""
    answer = ask(shell, "sacctmgr", "--readonly", "show", "stats", check=False)
    found = re.search(r"rollup last ran .*\(([0-9]+)\)", answer.stdout)
    return parsing.parse_time(found[1]) if found else None


def total_row(resource: str | None, figures: dict[str, float]) -> ReportRow:
    """Return a row that sums up others by resource."""
    row = _row({"TRES Name": resource or ""})
    row["figures"] = figures
    return row


def _split_reports(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield the lines of each report, without sreport's prompts and what follows them."""
    report: list[str] = []
    for line in lines:
        if line.startswith(_PROMPT):
            if report:
                yield report
            report = []
        elif report or line.startswith(_RULE):
            report.append(line)
    if report:
        yield report


def _parse_report(lines: list[str]) -> ReportPeriod:
    """Parse a report: a title between two rules, the names of the columns, then the rows."""
    rules = [number for number, line in enumerate(lines) if line.startswith(_RULE)]
    header, *rows = lines[rules[1] + 1 :]
    span = _SPAN.search(" ".join(lines[: rules[1]]))
    if span is None:
        raise IndexError("a report without its time span")
    names = header.split("|")
    return ReportPeriod(
        start=parsing.parse_time(span[1]) or "",
        end=parsing.parse_time(str(int(span[2]) + 1)) or "",
        rows=[_row(dict(zip(names, line.split("|"), strict=False))) for line in rows],
        total=[],
    )


def _row(cells: dict[str, str]) -> ReportRow:
    labels = {
        _LABEL_COLUMNS[name]: cell.strip() or None
        for name, cell in cells.items()
        if name in _LABEL_COLUMNS
    }
    figures = {
        _FIGURE_NAMES.get(name, name.lower() if name.isalpha() else name): number
        for name, cell in cells.items()
        if name not in _LABEL_COLUMNS
        and (number := parsing.parse_float(cell.rstrip("%"))) is not None
    }
    return ReportRow(
        cluster=labels.get("cluster"),
        account=labels.get("account"),
        user=labels.get("user"),
        full_name=labels.get("full_name"),
        wckey=labels.get("wckey"),
        reservation=labels.get("reservation"),
        resource=labels.get("resource"),
        figures=figures,
    )
