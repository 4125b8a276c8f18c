"""Show the use of the cluster over time: by hour, day or month, for each account, user, partition.

Use `report` for sreport's own reports, with one sum for a whole span.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.client import on_cluster
from operators.slurm.job_types import NameList, SlurmCluster, Timestamp
from operators.slurm.known_names import (
    check_accounts,
    check_partitions,
    check_resources,
    check_users,
    tracked_resources,
)
from operators.slurm.usage.job_usage import usage_by_partition
from operators.slurm.usage.sreport import (
    ReportRow,
    ReportTime,
    ResourceName,
    read_rollup_time,
    run_reports,
)
from operators.slurm.usage.usage_periods import (
    Interval,
    Period,
    TimeSpan,
    check_span,
    divide,
    period,
)
from resop import InvalidOptions, Shell, operation

UsageBy = Literal["cluster", "account", "user", "partition"]
UsageUnit = Literal["seconds", "minutes", "hours"]
_SECONDS: dict[UsageUnit, int] = {"seconds": 1, "minutes": 60, "hours": 3600}
_REPORTS = {
    "cluster": ("cluster", "Utilization"),
    "account": ("cluster", "AccountUtilizationByUser"),
    "user": ("cluster", "AccountUtilizationByUser"),
}


class UsageSeries(TypedDict):
    """The use of a resource by an account, a user, a partition or the cluster, by period."""

    account: str | None
    user: str | None
    partition: str | None
    resource: str
    figure: str
    """`used`; of a cluster `allocated`, `idle`, `down`, `planned_down`, `planned`, `reported`."""
    values: list[float]
    """One for each period, in its order."""
    total: float


class Usage(TypedDict):
    """Series of usage, with a value for each period."""

    by: UsageBy
    interval: Interval
    unit: UsageUnit
    """The unit of the values: CPU-hours, GPU-hours, MiB-hours of memory (or seconds, minutes)."""
    source: Literal["sreport", "sacct"]
    """sreport: slurmdbd's hourly sums, without what was used since the last full hour, and with
    what reservations kept idle. sacct: all jobs until now, each in the periods in which it ran."""
    rolled_up: Timestamp | None
    """sreport's last hourly sum; None unless the user is an administrator."""
    periods: list[Period]
    series: list[UsageSeries]
    """Ordered by name and resource; nothing is listed that used nothing."""
    untracked: list[str]
    """The resources asked for that the site's accounting does not track."""


class _Label(NamedTuple):
    """The subject of a series."""

    account: str | None
    user: str | None
    partition: str | None
    resource: str
    figure: str


@operation(
    share_for=10,
    dry_run=True,
    examples=[
        {"by": "account", "start": "2024-05-01", "end": "2024-05-31"},
        {"by": "partition", "start": "2024-05-01T08:00", "interval": "hour", "unit": "seconds"},
        {"by": "user", "start": "2024-01-01", "interval": "month", "accounts": ["project1"]},
    ],
)
def usage(
    shell: Shell,
    by: Annotated[UsageBy, Field(description="one series for each of these")],
    start: Annotated[ReportTime, Field(description="first day, or for hours the first hour")],
    end: Annotated[
        ReportTime | None,
        Field(description="last day (included), or the hour it ends at (default: now)"),
    ] = None,
    interval: Annotated[Interval, Field(description="length of each period")] = "day",
    unit: Annotated[UsageUnit, Field(description="unit of the values")] = "hours",
    resources: Annotated[
        list[ResourceName],
        Field(min_length=1, max_length=20, description="resources: cpu, mem, gres/gpu, …"),
    ] = ["cpu", "gres/gpu"],  # noqa: B006 (never changed)
    accounts: Annotated[
        NameList | None, Field(description="only what was charged to these accounts")
    ] = None,
    users: Annotated[NameList | None, Field(description="only what these users used")] = None,
    partitions: Annotated[
        NameList | None, Field(description="only these partitions (by partition)")
    ] = None,
    cluster: SlurmCluster = None,
) -> Usage:
    """Return a series for each account, user or partition, as far as the site shows their usage.

    Days and hours are those of the login node. An account contains the accounts below it.
    """
    if partitions and by != "partition":
        raise InvalidOptions.of("partitions", f"usage by {by} is not known by partition")
    if by == "cluster" and (accounts or users):
        raise InvalidOptions.of("by", "the cluster's usage is not known by accounts or users")
    check_span(start, end, interval)
    with on_cluster(cluster):
        tracked = _tracked(shell, resources)
        spans = divide(shell, start, end, interval)
        if by == "partition":
            lists = {"accounts": accounts, "user": users, "partition": partitions}
            used = _from_sacct(shell, spans, tracked, lists)
        else:
            lists = {"accounts": accounts, "users": users, "clusters": _listed(cluster)}
            used = _from_sreport(shell, by, spans, tracked, lists)
        if not used:
            check_accounts(shell, accounts)
            check_users(shell, users)
            check_partitions(shell, partitions)
        return Usage(
            by=by,
            interval=interval,
            unit=unit,
            source="sacct" if by == "partition" else "sreport",
            rolled_up=None if by == "partition" else read_rollup_time(shell),
            periods=[period(span) for span in spans],
            series=_series(used, _SECONDS[unit]),
            untracked=[name for name in resources if name not in tracked],
        )


def _listed(name: str | None) -> list[str] | None:
    return None if name is None else [name]


def _tracked(shell: Shell, resources: Sequence[str]) -> list[str]:
    """Return the resources that accounting tracks; sreport is silent about the others."""
    known = tracked_resources(shell)
    tracked = [name for name in dict.fromkeys(resources) if name in known]
    if not tracked:
        check_resources(shell, resources)
    return tracked


def _from_sacct(
    shell: Shell,
    spans: Sequence[TimeSpan],
    resources: Sequence[str],
    lists: Mapping[str, list[str] | None],
) -> dict[_Label, list[float]]:
    filters = [f"--{name}={','.join(values)}" for name, values in lists.items() if values]
    filters += [] if lists["user"] else ["--allusers"]
    used = usage_by_partition(shell, spans, resources, *filters)
    return {
        _Label(None, None, partition, resource, "used"): seconds
        for (partition, resource), seconds in used.items()
    }


def _from_sreport(
    shell: Shell,
    by: str,
    spans: Sequence[TimeSpan],
    resources: Sequence[str],
    lists: Mapping[str, list[str] | None],
) -> dict[_Label, list[float]]:
    flags = ("-t", "Seconds", f"--tres={','.join(resources)}")
    filters = [f"{name}={','.join(values)}" for name, values in lists.items() if values]
    reports = [
        (*_REPORTS[by], f"start=uts{first}", f"end=uts{after}", *filters) for first, after in spans
    ]
    used: dict[_Label, list[float]] = defaultdict(lambda: [0.0] * len(spans))
    for number, report in enumerate(run_reports(shell, flags, reports)):
        for row in report["rows"]:
            for figure, seconds in row["figures"].items():
                if (label := _label(by, row, figure)) is not None:
                    used[label][number] += seconds
    return dict(used)


def _label(by: str, row: ReportRow, figure: str) -> _Label | None:
    """Return the series of a row; None for a row of others: accounts have rows beside users."""
    if by == "cluster":
        return _Label(None, None, None, row["resource"] or "", figure)
    if (row["user"] is not None) != (by == "user"):
        return None
    account = row["account"] if by == "account" else None
    return _Label(account, row["user"], None, row["resource"] or "", figure)


def _series(used: Mapping[_Label, Sequence[float]], unit: int) -> list[UsageSeries]:
    return [
        UsageSeries(
            account=label.account,
            user=label.user,
            partition=label.partition,
            resource=label.resource,
            figure=label.figure,
            values=[round(seconds / unit, 4) for seconds in values],
            total=round(sum(values) / unit, 4),
        )
        for label, values in sorted(used.items(), key=lambda item: [each or "" for each in item[0]])
        if any(values)
    ]
