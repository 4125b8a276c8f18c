"""Report the cluster's usage by account, user, job size or month, as sreport sums it up."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict

from operators.slurm.job_types import NameList, SlurmCluster, Timestamp
from operators.slurm.known_names import check_accounts, check_resources, check_users
from operators.slurm.report_words import read_type
from operators.slurm.usage.sreport import (
    ReportPeriod,
    ReportRow,
    ReportTime,
    ResourceName,
    read_rollup_time,
    run_report,
    total_row,
)
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

MAX_MONTHS = 60


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
    dry_run=True,
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
    type: Annotated[
        ReportType,
        BeforeValidator(read_type),
        Field(description="which report: what it sums up, by what"),
    ],
    start: Annotated[ReportTime, Field(description="first day or hour")],
    end: Annotated[
        ReportTime | None,
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
    unless the report begins at that hour, other than midnight.
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
    flags = ("-t", unit.capitalize(), f"--tres={','.join(resources)}")

    def period(span: tuple[date, date | None]) -> ReportPeriod:
        first, until = (day.isoformat() if day else "now" for day in span)
        times = (f"start={first}", f"end={until}")
        report = run_report(shell, flags, (*REPORTS[type], *times, *filters, *where))
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
    return UsageReport(type=type, unit=unit, periods=periods, rolled_up=read_rollup_time(shell))


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
    return [total_row(resource, figures) for resource, figures in sums.items()]
