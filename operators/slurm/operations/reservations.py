"""List the reservations: when, which nodes, and who may use them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import parsing
from operators.slurm.client import on_cluster
from operators.slurm.cluster.license_counts import parse_licenses
from operators.slurm.cluster.reservation_access import Requester, may_use, read_requester
from operators.slurm.cluster.reservation_records import ReservationRecord, read_reservations
from operators.slurm.job_types import NameList, Seconds, SlurmCluster, Timestamp
from resop import Shell, operation


class Reservation(TypedDict):
    """A reservation; an empty list of names restricts nobody."""

    name: str
    state: str
    """ACTIVE or INACTIVE."""
    is_active: bool
    """True if it has begun and not ended."""
    start: Timestamp | None
    """The current or the next start of a repeated one (flags DAILY, WEEKLY, …)."""
    end: Timestamp | None
    duration: Seconds | None
    nodes: int
    node_names: list[str]
    cores: int
    resources: dict[str, int]
    """Reserved resources by name: counts; memory in bytes."""
    users: list[str]
    """Only jobs of these users may use it."""
    denied_users: list[str]
    groups: list[str]
    """Only jobs of members of these groups may use it."""
    accounts: list[str]
    """Only jobs of these accounts and, where the site enforces associations, of those below."""
    denied_accounts: list[str]
    allowed_partitions: list[str]
    """Only jobs in these partitions may use it (newer releases of Slurm)."""
    qos: list[str]
    """Only jobs with these qualities of service may use it (newer releases of Slurm)."""
    may_use: bool | None
    """True if jobs of the user who asks may use it, with any of the user's accounts; None if that
    cannot be known, for instance since it depends on the job."""
    flags: list[str]
    """MAINT, SPEC_NODES, OVERLAP, IGNORE_JOBS, DAILY, FLEX, MAGNETIC, …"""
    partition: str | None
    """The partition that its nodes are taken from."""
    features: str | None
    """The features that its nodes have."""
    licenses: dict[str, int]
    """The reserved licenses by name."""
    burst_buffer: str | None
    max_start_delay: Seconds | None
    comment: str | None


@operation(share_for=5, examples=[{}, {"names": ["maintenance"]}, {"active": True}])
def reservations(
    shell: Shell,
    names: Annotated[NameList | None, Field(description="only these reservations")] = None,
    nodes: Annotated[
        NameList | None, Field(description="only reservations of any of these nodes")
    ] = None,
    active: Annotated[
        bool | None,
        Field(description="true: only reservations that have begun; false: only later ones"),
    ] = None,
    cluster: SlurmCluster = None,
) -> list[Reservation]:
    """Return the reservations that match all filters, ordered by start.

    Some sites show users only the reservations that they may use (PrivateData).
    """
    with on_cluster(cluster):
        found = [
            record
            for record in read_reservations(shell)
            if (names is None or record.name in names) and active in (None, record.is_active)
        ]
        requester = read_requester(shell, found)
    listed = [_reservation(record, requester) for record in found]
    if nodes is not None:
        listed = [each for each in listed if {*nodes} & {*each["node_names"]}]
    return sorted(listed, key=lambda each: (each["start"] or "", each["name"]))


def _reservation(record: ReservationRecord, requester: Requester) -> Reservation:
    fields = record.fields
    start, end = (parsing.parse_time(fields[name]) for name in ("StartTime", "EndTime"))
    return Reservation(
        name=record.name,
        state=fields["State"],
        is_active=record.is_active,
        start=start,
        end=end,
        duration=_duration(start, end),
        nodes=record.count("NodeCnt"),
        node_names=parsing.expand_nodes(fields["Nodes"]),
        cores=record.count("CoreCnt"),
        resources=parsing.parse_tres(fields.get("TRES", "")),
        users=record.users.allowed,
        denied_users=record.users.denied,
        groups=record.groups.allowed,
        accounts=record.accounts.allowed,
        denied_accounts=record.accounts.denied,
        allowed_partitions=record.names("AllowedPartitions"),
        qos=record.names("QOS"),
        may_use=may_use(record, requester),
        flags=record.flags,
        partition=record.text("PartitionName"),
        features=record.text("Features"),
        licenses=parse_licenses(fields.get("Licenses", "")),
        burst_buffer=record.text("BurstBuffer"),
        max_start_delay=parsing.parse_duration(fields.get("MaxStartDelay", "")),
        comment=record.comment,
    )


def _duration(start: str | None, end: str | None) -> int | None:
    """Return the seconds from start to end."""
    if start is None or end is None:
        return None
    span = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return round(span.total_seconds())
