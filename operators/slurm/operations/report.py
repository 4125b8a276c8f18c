"""Report the cluster's usage by account, user, job size or month, as sreport sums it up."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field, NaiveDatetime
from typing_extensions import TypedDict

from operators.slurm import parsing
from operators.slurm.client import ask, unreadable
from operators.slurm.job_types import NameList, SlurmCluster, Timestamp
from operators.slurm.known_names import check_accounts, check_resources, check_users
from resop import ErrorMessage, Shell, operation

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
"""sreport's words for each type of report."""

ReportType = Literal[
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
ReportUnit = Literal["seconds", "minutes", "hours", "percent"]
RowPattern = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_.@+*?\[\]!-]+$", max_length=255),
    ErrorMessage("must be a name, possibly with wildcards such as project*"),
]
ResourceName = Annotated[
    str,
    Field(pattern="^[A-Za-z0-9_/:.-]+$", max_length=255),
    ErrorMessage("must be a resource such as cpu, mem or gres/gpu"),
]
REPORT_TIME = ErrorMessage(
    "must be a day such as 2024-05-01, or a time without a zone such as 2024-05-01T12:00"
)

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
MAX_MONTHS = 60
_SPAN = re.compile(r"\b([0-9]{9,}) - ([0-9]{9,})\b")


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


class UsageReport(TypedDict):
    """The usage in each period."""

    type: ReportType
    unit: ReportUnit
    """The unit of the figures: CPU-seconds (minutes, hours), MB-seconds of memory, or percent."""
    periods: list[ReportPeriod]
    rolled_up: Timestamp | None
    """The last hourly summary of usage by slurmdbd; None unless the user is an administrator."""


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
    type: Annotated[ReportType, Field(description="which report: what it sums up, by what")],
    start: Annotated[
        Annotated[date | NaiveDatetime, REPORT_TIME], Field(description="first day or hour")
    ],
    end: Annotated[
        Annotated[date | NaiveDatetime, REPORT_TIME] | None,
        Field(description="last day (included), or the hour it ends at (default: now)"),
    ] = None,
    unit: Annotated[
        ReportUnit, Field(description="unit of the figures; percent: share of the available total")
    ] = "minutes",
    resources: Annotated[
        list[ResourceName],
        Field(min_length=1, max_length=20, description="resources: cpu, mem, gres/gpu, …"),
    ] = ["cpu"],  # noqa: B006 (never changed)
    accounts: Annotated[NameList | None, Field(description="only these accounts")] = None,
    users: Annotated[NameList | None, Field(description="only these users")] = None,
    match: Annotated[
        RowPattern | None,
        Field(description="only rows whose account, user, key or reservation matches: project*"),
    ] = None,
    total: Annotated[bool, Field(description="also return the sum of the rows")] = False,
    monthly: Annotated[bool, Field(description="one period per month")] = False,
    cluster: SlurmCluster = None,
) -> UsageReport:
    """Return the report with one period per month if `monthly`, otherwise a single one.

    Days and hours are in the cluster's time zone. Usage since the last full hour is missing,
    unless the report begins at that hour.
    """
    after = end + timedelta(days=1) if end and not isinstance(end, datetime) else end
    if after is not None and after.isoformat() <= start.isoformat():
        shell.fail(f"the end {end} is before the start {start}")
    if monthly and (isinstance(start, datetime) or isinstance(end, datetime)):
        shell.fail("monthly needs days: give start and end without a time")
    lists = {"accounts": accounts, "users": users}
    filters = [f"{name}={','.join(names)}" for name, names in lists.items() if names]
    if filters and REPORTS[type][-1] == "Utilization":
        shell.fail(f"{type} cannot be filtered by accounts or users: it lists neither")
    where = [f"clusters={cluster}"] if cluster else []
    if len(resources) > 1 and type.startswith("sizes"):
        shell.fail(f"{type} reports one resource at a time: give only one")
    words = (
        "--parsable2",
        "-t",
        unit.capitalize(),
        f"--tres={','.join(resources)}",
        *REPORTS[type],
    )

    def period(span: tuple[date, date | None]) -> ReportPeriod:
        first, until = (day.isoformat() if day else "now" for day in span)
        answer = ask(shell, "sreport", *words, f"start={first}", f"end={until}", *filters, *where)
        try:
            report = _period(answer.lines)
        except IndexError:
            raise unreadable("sreport", answer.stdout) from None
        for row in report["rows"]:  # reports of job sizes do not name the resource
            row["resource"] = row["resource"] or resources[0]
        if match is not None:
            report["rows"] = [row for row in report["rows"] if _matches(row, match)]
        report["total"] = _total(report["rows"]) if total else []
        return report

    spans = [*_months(start, after)] if monthly else [(start, after)]
    if len(spans) > MAX_MONTHS:
        shell.fail(f"{len(spans)} months are too many: at most {MAX_MONTHS} are reported at once")
    periods = shell.map(period, spans)
    _check_names(shell, periods, resources, accounts, users)
    return UsageReport(type=type, unit=unit, periods=periods, rolled_up=_rolled_up(shell))


def _check_names(
    shell: Shell,
    periods: list[ReportPeriod],
    resources: list[str],
    accounts: list[str] | None,
    users: list[str] | None,
) -> None:
    """Raise InvalidOptions for a name for which the report is empty because nothing has it."""
    rows = [row for each in periods for row in each["rows"]]
    if not rows:
        check_accounts(shell, accounts)
        check_users(shell, users)
    missing = {*resources} - {row["resource"] for row in rows} - {"cpu", "mem"}
    if missing:
        check_resources(shell, sorted(missing))


def _months(start: date, after: date | None) -> Iterator[tuple[date, date | None]]:
    """Yield each month's first day, and the day after its last one; None: until now."""
    until = after or datetime.now(UTC).date() + timedelta(days=1)
    while start < until:
        following = (start.replace(day=1) + timedelta(days=31)).replace(day=1)
        yield start, (following if following < until else after)
        start = following


def _period(lines: list[str]) -> ReportPeriod:
    """Parse a report: a title between two rules, the names of the columns, then the rows."""
    rules = [number for number, line in enumerate(lines) if line.startswith("-----")]
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


def _matches(row: ReportRow, pattern: str) -> bool:
    names = (row["account"], row["user"], row["wckey"], row["reservation"])
    return any(fnmatchcase(name, pattern) for name in names if name)


def _total(rows: list[ReportRow]) -> list[ReportRow]:
    """Sum up the rows by resource; an account's row already sums up its users'."""
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
    return parsing.parse_time(found[1]) if found else None
