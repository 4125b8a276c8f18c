"""List the nodes: hardware, load, state and allocated resources."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import parsing
from operators.slurm.client import on_cluster
from operators.slurm.cluster.node_records import NodeRecord, read_nodes
from operators.slurm.cluster.node_states import NodeStateWord
from operators.slurm.job_types import Bytes, NameList, SlurmCluster, Timestamp
from operators.slurm.known_names import check_partitions
from operators.slurm.paging import CHOSEN_FIELDS, FieldOf, Limit, Offset, Page, is_page, page
from operators.slurm.resources.generic_resources import ResourceCounts, gpus_of
from resop import ErrorMessage, Shell, operation

NodeListExpression = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_.,\[\]-]+$", max_length=4096),
    ErrorMessage("must be a list of nodes such as cn[01-04],gpu01 (at most 4096 characters)"),
]


class OutageReason(TypedDict):
    """Why a node is out of service."""

    text: str
    by: str | None
    since: Timestamp | None


class Node(TypedDict):
    """A compute node."""

    name: str
    state: str
    """ALLOCATED, DOWN, IDLE, MIXED, …"""
    flags: list[str]
    """Further states: DRAIN, COMPLETING, NOT_RESPONDING, MAINTENANCE, …"""
    status: str
    """One word for state and flags, as in sinfo and in `partitions`: IDLE only if it is free;
    DRAINED, DRAINING, MAINT, NOT_RESPONDING, POWERED_DOWN, …"""
    accepts_jobs: bool
    """True if the node starts further jobs of anybody, now or as soon as it has room."""
    reason: OutageReason | None
    partitions: list[str]
    features: list[str]
    cpus: int
    allocated_cpus: int
    available_cpus: int
    """The CPUs that jobs can get: those not allocated; none if the node accepts no jobs."""
    sockets: int
    cores_per_socket: int
    threads_per_core: int
    memory: Bytes
    allocated_memory: Bytes
    """The memory allocated to jobs."""
    available_memory: Bytes
    """The memory that jobs can get: that not allocated; none if the node accepts no jobs."""
    free_memory: Bytes | None
    """The free memory, as the node's operating system reports it."""
    gpus: dict[str, ResourceCounts]
    """The GPUs by type (`gpu` if they have none)."""
    resources: dict[str, ResourceCounts]
    """All generic resources by name and type: gpu:a100, shard, mps, …"""
    load: float | None
    booted: Timestamp | None
    version: str | None
    """The version of the node's slurmd."""


@operation(
    share_for=5,
    examples=[
        {},
        {"partitions": ["batch"], "states": ["IDLE", "MIXED"]},
        {"names": "cn[01-04],gpu01"},
        {"fields": ["name", "status", "available_memory", "gpus"], "limit": 500, "offset": 0},
    ],
)
def nodes(
    shell: Shell,
    names: Annotated[
        NodeListExpression | None, Field(description="only these nodes: cn[01-04],gpu01")
    ] = None,
    partitions: Annotated[
        NameList | None, Field(description="only nodes in these partitions")
    ] = None,
    states: Annotated[
        list[NodeStateWord] | None,
        Field(
            min_length=1,
            description="only nodes with one of these statuses or flags: IDLE (free), DRAINED, …",
        ),
    ] = None,
    fields: Annotated[list[Annotated[str, FieldOf(Node)]] | None, CHOSEN_FIELDS] = None,
    limit: Limit = None,
    offset: Offset = None,
    cluster: SlurmCluster = None,
) -> list[Node] | Page[Node]:
    """Return the nodes that match all filters, ordered by name.

    With `fields`, `limit` or `offset` the answer is a page of them. `available_…` is what jobs of
    anybody can get: nothing of a node that is down, drained, reserved, …; nor what is set aside
    for the system. `free_memory` is something else: what programs leave free.
    """
    with on_cluster(cluster):
        found = read_nodes(shell, names)
        if partitions is not None:
            found = [record for record in found if {*partitions} & {*record.partitions}]
            if not found and names is None:
                check_partitions(shell, partitions)
    matching = [each for each in found if states is None or each.state.matches({*states})]
    if is_page(fields, limit, offset):
        return page(matching, fields, limit, offset, _node)
    return [_node(record) for record in matching]


def _node(record: NodeRecord) -> Node:
    resources, fields = record.resources, record.fields
    reason = record.reason and OutageReason(
        text=record.reason.text, by=record.reason.by, since=record.reason.since
    )
    return Node(
        name=record.name,
        state=record.state.base,
        flags=[*record.state.flags],
        status=record.state.status,
        accepts_jobs=record.state.accepts_jobs,
        reason=reason,
        partitions=record.partitions,
        features=parsing.split_names(fields.get("ActiveFeatures", "")),
        cpus=record.count("CPUTot"),
        allocated_cpus=record.count("CPUAlloc"),
        available_cpus=record.available_cpus,
        sockets=record.count("Sockets"),
        cores_per_socket=record.count("CoresPerSocket"),
        threads_per_core=record.count("ThreadsPerCore"),
        memory=record.bytes("RealMemory"),
        allocated_memory=record.bytes("AllocMem"),
        available_memory=record.available_memory,
        free_memory=parsing.parse_size(fields.get("FreeMem", "")),
        gpus=gpus_of(resources),
        resources=resources,
        load=parsing.parse_float(fields.get("CPULoad", "")),
        booted=parsing.parse_time(fields.get("BootTime", "")),
        version=parsing.parse_text(fields.get("Version", "")),
    )
