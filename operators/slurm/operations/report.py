"""Usage of the cluster, as sreport sums it up: by account, by user, by size of jobs, by month."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field, NaiveDatetime
from typing_extensions import TypedDict

from operators.slurm import parsing
from operators.slurm.client import ask
from operators.slurm.job_types import Names, Time
from resop import Shell, operation

REPORTS = {
    "utilization": ("cluster", "Utilization"),
    "account_utilization_by_user": ("cluster", "AccountUtilizationByUser"),
    "user_utilization_by_account": ("cluster", "UserUtilizationByAccount"),
    "user_utilization_by_wckey": ("cluster", "UserUtilizationByWckey"),
    "wckey_utilization_by_user": ("cluster", "WCKeyUtilizationByUser"),
    "sizes_by_account": ("job", "SizesByAccount", "FlatView"),
    "sizes_by_wckey": ("job", "SizesByWckey"),
    "top_users": ("user", "TopUsage"),
    "reservation_utilization": ("reservation", "Utilization"),
}
"""Our name of a report, and sreport's."""

Type = Literal[
    "utilization",
    "account_utilization_by_user",
    "user_utilization_by_account",
    "user_utilization_by_wckey",
    "wckey_utilization_by_user",
    "sizes_by_account",
    "sizes_by_wckey",
    "top_users",
    "reservation_utilization",
]
Unit = Literal["seconds", "minutes", "hours", "percent"]
Pattern = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@+*?\[\]!-]+$", max_length=255)]

# What sreport calls the columns that are no figures.
_WORDS = {
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
_FIGURES = {"PLND Down": "planned_down"}
MOST_MONTHS = 60
_SPAN = re.compile(r"\b([0-9]{9,}) - ([0-9]{9,})\b")


class Row(TypedDict):
    """A line of a report. What it is not about is None."""

    cluster: str | None
    account: str | None
    user: str | None
    full_name: str | None
    wckey: str | None
    reservation: str | None
    resource: str | None
    """cpu, mem, gres/gpu, …: what the figures are of."""
    figures: dict[str, float]
    """`used`; `allocated`, `idle`, `down`, …; or usage by the size of jobs, such as `0-49 CPUs`."""


class Period(TypedDict):
    """A month, or the whole time asked for."""

    start: Time
    end: Time
    """The first second after it."""
    rows: list[Row]
    total: list[Row]
    """The sum of the rows, for each resource; of those of users, where accounts sum them up."""


class Report(TypedDict):
    """Usage in periods."""

    type: Type
    unit: Unit
    """What the figures are in: CPU-seconds and so on, MB-seconds of memory, or percent."""
    periods: list[Period]
    rolled_up: Time | None
    """When usage was last summed up, which is once an hour; administrators alone are told."""


@operation(
    share_for=10,
    examples=[
        {"type": "utilization", "start": "2024-05-01", "unit": "percent"},
        {
            "type": "account_utilization_by_user",
            "start": "2024-01-01",
            "end": "2024-06-30",
            "unit": "hours",
            "accounts": ["project1", "project2"],
            "monthly": True,
            "total": True,
        },
        {"type": "top_users", "start": "2024-05-01", "match": "project*"},
    ],
)
def report(
    shell: Shell,
    type: Annotated[Type, Field(description="what is summed up, and by what")],
    start: Annotated[date | NaiveDatetime, Field(description="the first day, or hour")],
    end: Annotated[
        date | NaiveDatetime | None,
        Field(description="the last day, or the hour that is no longer in it; else until now"),
    ] = None,
    unit: Annotated[
        Unit, Field(description="of the figures; percent is of all there was to use")
    ] = "minutes",
    resources: Annotated[
        list[Annotated[str, Field(pattern="^[A-Za-z0-9_/:.-]+$", max_length=255)]],
        Field(min_length=1, max_length=20, description="usage of what: cpu, mem, gres/gpu, …"),
    ] = ["cpu"],  # noqa: B006 (it is never changed)
    accounts: Annotated[Names | None, Field(description="only these accounts")] = None,
    users: Annotated[Names | None, Field(description="only these users")] = None,
    match: Annotated[
        Pattern | None,
        Field(description="only rows whose account, user, key or reservation is like: project*"),
    ] = None,
    total: Annotated[bool, Field(description="the sum of the rows, too")] = False,
    monthly: Annotated[bool, Field(description="a report for each month")] = False,
) -> Report:
    """Return the report, one period for each month if `monthly`, else one for all.

    Days and hours are those of the cluster's own zone. What was used since the last full hour is
    missing, except in a report that begins with it.
    """
    after = end + timedelta(days=1) if end and not isinstance(end, datetime) else end
    if after is not None and after.isoformat() <= start.isoformat():
        shell.fail(f"the end, {end}, is before the start, {start}")
    if monthly and (isinstance(start, datetime) or isinstance(end, datetime)):
        shell.fail("months are of whole days: give days")
    named = {"accounts": accounts, "users": users}
    filters = [f"{name}={','.join(given)}" for name, given in named.items() if given]
    if filters and REPORTS[type][-1] == "Utilization":
        shell.fail(f"{type} tells no accounts and no users that it could be limited to")
    if len(resources) > 1 and type.startswith("sizes"):
        shell.fail(f"{type} tells of one resource at a time")
    how = ("--parsable2", "-t", unit.capitalize(), f"--tres={','.join(resources)}", *REPORTS[type])

    def period(span: tuple[date, date | None]) -> Period:
        first, until = (day.isoformat() if day else "now" for day in span)
        said = ask(shell, "sreport", *how, f"start={first}", f"end={until}", *filters)
        found = _period(said.lines)
        for row in found["rows"]:  # sizes of jobs are told without what they are sizes of
            row["resource"] = row["resource"] or resources[0]
        if match is not None:
            found["rows"] = [row for row in found["rows"] if _is_like(row, match)]
        found["total"] = _total(found["rows"]) if total else []
        return found

    spans = [*_months(start, after)] if monthly else [(start, after)]
    if len(spans) > MOST_MONTHS:
        shell.fail(f"{len(spans)} months are more than the {MOST_MONTHS} that are told at once")
    return Report(
        type=type, unit=unit, periods=shell.map(period, spans), rolled_up=_rolled_up(shell)
    )


def _months(start: date, after: date | None) -> Iterator[tuple[date, date | None]]:
    """First day, and day after the last, of each month; None for now."""
    until = after or datetime.now(UTC).date() + timedelta(days=1)
    while start < until:
        following = (start.replace(day=1) + timedelta(days=31)).replace(day=1)
        yield start, (following if following < until else after)
        start = following


def _period(lines: list[str]) -> Period:
    """A title between two rules, the names of the columns, then the rows."""
    rules = [number for number, line in enumerate(lines) if line.startswith("-----")]
    header, *rows = lines[rules[1] + 1 :]
    span = _SPAN.search(" ".join(lines[: rules[1]]))
    assert span is not None
    names = header.split("|")
    return Period(
        start=parsing.time(span[1]) or "",
        end=parsing.time(str(int(span[2]) + 1)) or "",
        rows=[_row(dict(zip(names, line.split("|"), strict=False))) for line in rows],
        total=[],
    )


def _row(cells: dict[str, str]) -> Row:
    told = {_WORDS[name]: cell.strip() or None for name, cell in cells.items() if name in _WORDS}
    figures = {
        _FIGURES.get(name, name.lower() if name.isalpha() else name): number
        for name, cell in cells.items()
        if name not in _WORDS and (number := parsing.decimal(cell.rstrip("%"))) is not None
    }
    return Row(
        cluster=told.get("cluster"),
        account=told.get("account"),
        user=told.get("user"),
        full_name=told.get("full_name"),
        wckey=told.get("wckey"),
        reservation=told.get("reservation"),
        resource=told.get("resource"),
        figures=figures,
    )


def _is_like(row: Row, pattern: str) -> bool:
    names = (row["account"], row["user"], row["wckey"], row["reservation"])
    return any(fnmatchcase(name, pattern) for name in names if name)


def _total(rows: list[Row]) -> list[Row]:
    """The sum of the rows for each resource; an account's is the sum of its users' already."""
    single = [row for row in rows if row["user"]] or rows
    sums: dict[str | None, dict[str, float]] = {}
    for row in single:
        figures = sums.setdefault(row["resource"], {})
        for name, number in row["figures"].items():
            figures[name] = round(figures.get(name, 0) + number, 2)
    return [_row({"TRES Name": resource or ""}) | {"figures": sums[resource]} for resource in sums]


def _rolled_up(shell: Shell) -> str | None:
    answer = ask(shell, "sacctmgr", "--readonly", "show", "stats", check=False)
    found = re.search(r"rollup last ran .*\(([0-9]+)\)", answer.stdout)
    return parsing.time(found[1]) if found else None
