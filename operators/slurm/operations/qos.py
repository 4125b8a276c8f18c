"""List the qualities of service (QOS): priority, preemption and limits."""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import listings, parsing
from operators.slurm.job_types import NameList, Seconds, SlurmCluster
from operators.slurm.limit_fields import SharedLimits, shared_limits
from resop import Shell, operation

# The description is free text, so it comes last.
_COLUMNS = [
    *("Name", "Priority", "Flags", "Preempt", "PreemptMode", "PreemptExemptTime", "GraceTime"),
    *("UsageFactor", "UsageThreshold", "LimitFactor", "GrpJobs", "GrpSubmit", "GrpWall"),
    *("GrpTRES", "GrpTRESMins", "GrpTRESRunMins", "MaxWall", "MaxTRES", "MaxTRESPerNode"),
    *("MaxTRESMins", "MaxJobsPU", "MaxSubmitPU", "MaxTRESPU", "MaxJobsPA", "MaxSubmitPA"),
    *("MaxTRESPA", "MinTRES", "MinPrioThreshold", "Description"),
]
_ASSOCIATION_COLUMNS = ["Cluster", "Account", "QOS"]


class QosLimits(SharedLimits):
    """The limits of a QOS; None, or a missing key, means that it sets no limit.

    Resources are counts or bytes, multiplied by minutes where the name says so. `group_` limits
    all its jobs together, `max_` each job, each node of a job, each user or each account.
    """

    max_jobs_per_user: int | None
    max_submitted_jobs_per_user: int | None
    """Running and pending ones."""
    max_resources_per_user: dict[str, int]
    max_jobs_per_account: int | None
    max_submitted_jobs_per_account: int | None
    max_resources_per_account: dict[str, int]
    min_resources: dict[str, int]
    """The least that each job must request."""
    min_priority: int | None
    """The priority that a job needs to have resources planned for it."""


class Qos(TypedDict):
    """A quality of service."""

    name: str
    description: str
    priority: int | None
    flags: list[str]
    """DenyOnLimit, NoReserve, OverPartQOS, PartitionTimeLimit, RequiresReservation, …"""
    preempts: list[str]
    """The QOS whose jobs its jobs can preempt."""
    preempt_mode: str
    """The fate of its jobs that are preempted: cluster (the site's default), cancel, requeue, …"""
    preempt_exempt_time: Seconds | None
    """How long its jobs run before they can be preempted."""
    grace_time: Seconds | None
    """How long its jobs run on after they were preempted."""
    usage_factor: float | None
    usage_threshold: float | None
    limit_factor: float | None
    """By which the resource limits of accounts are multiplied for its jobs."""
    limits: QosLimits
    accounts: list[str]
    """The accounts with which the user who asks may use it, by the user's associations."""


@operation(share_for=5, dry_run=True, examples=[{}, {"names": ["normal", "high"]}])
def qos(
    shell: Shell,
    names: Annotated[NameList | None, Field(description="only these QOS")] = None,
    cluster: SlurmCluster = None,
) -> list[Qos]:
    """Return the QOS, ordered by name. All clusters of an accounting database share them.

    A site without accounting has no QOS: the error is what sacctmgr says of that. `cluster`
    matters only for `accounts`, which are otherwise those on any cluster.
    """
    queries: list[tuple[list[str], *tuple[str, ...]]] = [
        (_COLUMNS, "qos"),
        (_ASSOCIATION_COLUMNS, "associations", "where", f"user={shell.username}"),
    ]
    rows, associations = shell.map(lambda each: listings.sacctmgr(shell, *each), queries)
    accounts = defaultdict[str, set[str]](set)
    for association in associations:
        if cluster in (None, association["Cluster"]):
            for name in parsing.split_names(association["QOS"]):
                accounts[name].add(association["Account"])
    wanted = [row for row in rows if names is None or row["Name"] in names]
    found = [_qos(row, sorted(accounts.get(row["Name"], ()))) for row in wanted]
    return sorted(found, key=lambda each: each["name"])


def _qos(row: listings.TableRow, accounts: list[str]) -> Qos:
    return Qos(
        name=row["Name"],
        description=row["Description"],
        priority=parsing.parse_int(row["Priority"]),
        flags=parsing.split_names(row["Flags"]),
        preempts=parsing.split_names(row["Preempt"]),
        preempt_mode=row["PreemptMode"],
        preempt_exempt_time=parsing.parse_duration(row["PreemptExemptTime"]),
        grace_time=parsing.parse_duration(row["GraceTime"]),
        usage_factor=parsing.parse_float(row["UsageFactor"]),
        usage_threshold=parsing.parse_float(row["UsageThreshold"]),
        limit_factor=parsing.parse_float(row["LimitFactor"]),
        limits=_limits(row),
        accounts=accounts,
    )


def _limits(row: listings.TableRow) -> QosLimits:
    return QosLimits(
        **shared_limits(row),
        max_jobs_per_user=parsing.parse_int(row["MaxJobsPU"]),
        max_submitted_jobs_per_user=parsing.parse_int(row["MaxSubmitPU"]),
        max_resources_per_user=parsing.parse_tres(row["MaxTRESPU"]),
        max_jobs_per_account=parsing.parse_int(row["MaxJobsPA"]),
        max_submitted_jobs_per_account=parsing.parse_int(row["MaxSubmitPA"]),
        max_resources_per_account=parsing.parse_tres(row["MaxTRESPA"]),
        min_resources=parsing.parse_tres(row["MinTRES"]),
        min_priority=parsing.parse_int(row["MinPrioThreshold"]),
    )
