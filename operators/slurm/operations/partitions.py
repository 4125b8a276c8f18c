"""List the partitions: limits, access, and current use."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import parsing
from operators.slurm.client import on_cluster
from operators.slurm.cluster.node_records import NodeRecord, by_partition, read_nodes
from operators.slurm.cluster.partition_records import PartitionRecord, read_partitions
from operators.slurm.job_types import Bytes, NameList, SlurmCluster, TimeLimitSeconds
from operators.slurm.known_names import refuse_unknown
from operators.slurm.paging import CHOSEN_FIELDS, FieldOf, Limit, Offset, Page, is_page, page
from operators.slurm.resources.generic_resources import ResourceCounts, add_up, gpus_of
from resop import Shell, operation


class CpuCounts(TypedDict):
    """CPUs by use; `other` counts those of nodes that accept no jobs."""

    allocated: int
    idle: int
    other: int
    total: int


class Partition(TypedDict):
    """A partition; None means no limit (of time: UNLIMITED), or for `allowed_…` no restriction."""

    name: str
    state: str
    """UP, DOWN, DRAIN or INACTIVE."""
    is_default: bool
    is_hidden: bool
    nodes: int
    node_names: list[str]
    nodes_by_state: dict[str, int]
    """The number of nodes by `status`, as in `nodes`: IDLE, MIXED, ALLOCATED, DRAINING, DOWN, …"""
    cpus: CpuCounts
    gpus: int
    allocated_gpus: int
    available_gpus: int
    """The GPUs that are not allocated, on nodes that accept jobs."""
    gpus_by_type: dict[str, ResourceCounts]
    """The GPUs by type (`gpu` if they have none)."""
    memory: Bytes
    """The memory of all nodes together."""
    allocated_memory: Bytes
    available_memory: Bytes
    """The memory that is not allocated, on nodes that accept jobs."""
    max_time: TimeLimitSeconds | None
    """UNLIMITED if jobs may run for any time."""
    default_time: TimeLimitSeconds | None
    """The time limit of jobs that ask for none; None: `max_time`."""
    min_nodes: int
    max_nodes: int | None
    """The maximum number of nodes for one job."""
    max_cpus_per_node: int | None
    max_memory_per_node: Bytes | None
    max_memory_per_cpu: Bytes | None
    default_memory_per_node: Bytes | None
    default_memory_per_cpu: Bytes | None
    allowed_accounts: list[str] | None
    denied_accounts: list[str]
    allowed_groups: list[str] | None
    allowed_qos: list[str] | None
    denied_qos: list[str]
    qos: str | None
    priority_tier: int
    oversubscribe: str
    """The sharing of resources between jobs: NO, YES:4, EXCLUSIVE, …"""
    preemption: str


@operation(
    share_for=5,
    examples=[
        {},
        {"names": ["debug", "batch"]},
        {"fields": ["name", "nodes_by_state", "available_gpus"], "limit": 50},
    ],
)
def partitions(
    shell: Shell,
    names: Annotated[NameList | None, Field(description="only these partitions")] = None,
    fields: Annotated[list[Annotated[str, FieldOf(Partition)]] | None, CHOSEN_FIELDS] = None,
    limit: Limit = None,
    offset: Offset = None,
    cluster: SlurmCluster = None,
) -> list[Partition] | Page[Partition]:
    """Return the partitions in the site's order, including hidden ones.

    With `fields`, `limit` or `offset` the answer is a page of them.
    """
    with on_cluster(cluster):
        found = read_partitions(shell)
        members = by_partition(read_nodes(shell))
    refuse_unknown("partition", names or (), [each.name for each in found], field="names")
    wanted = [each for each in found if names is None or each.name in names]
    describe = partial(_partition, members=members)
    if is_page(fields, limit, offset):
        return page(wanted, fields, limit, offset, describe)
    return [describe(each) for each in wanted]


def _cpu_counts(nodes: Sequence[NodeRecord]) -> CpuCounts:
    """Count the CPUs by use, as `sinfo --format=%C` does."""
    allocated, total = (sum(node.count(name) for node in nodes) for name in ("CPUAlloc", "CPUTot"))
    idle = sum(
        node.count("CPUTot") - node.count("CPUAlloc") for node in nodes if node.state.is_in_service
    )
    return CpuCounts(allocated=allocated, idle=idle, other=total - allocated - idle, total=total)


def _partition(record: PartitionRecord, members: Mapping[str, Sequence[NodeRecord]]) -> Partition:
    fields, nodes = record.fields, members.get(record.name, [])
    gpus = add_up(gpus_of(node.resources) for node in nodes)
    return Partition(
        name=record.name,
        state=record.state,
        is_default=record.is_default,
        is_hidden=record.is_hidden,
        nodes=parsing.parse_int(fields["TotalNodes"]) or 0,
        node_names=parsing.expand_nodes(fields["Nodes"]),
        nodes_by_state=dict(Counter(node.state.status for node in nodes)),
        cpus=_cpu_counts(nodes),
        gpus=sum(counts["total"] for counts in gpus.values()),
        allocated_gpus=sum(counts["allocated"] for counts in gpus.values()),
        available_gpus=sum(counts["available"] for counts in gpus.values()),
        gpus_by_type=gpus,
        memory=sum(node.bytes("RealMemory") for node in nodes),
        allocated_memory=sum(node.bytes("AllocMem") for node in nodes),
        available_memory=sum(node.available_memory for node in nodes),
        max_time=parsing.parse_time_limit(fields["MaxTime"]),
        default_time=parsing.parse_time_limit(fields["DefaultTime"]),
        min_nodes=parsing.parse_int(fields["MinNodes"]) or 0,
        max_nodes=parsing.parse_int(fields["MaxNodes"]),
        max_cpus_per_node=parsing.parse_int(fields["MaxCPUsPerNode"]),
        max_memory_per_node=parsing.parse_size(fields.get("MaxMemPerNode", "")),
        max_memory_per_cpu=parsing.parse_size(fields.get("MaxMemPerCPU", "")),
        default_memory_per_node=parsing.parse_size(fields.get("DefMemPerNode", "")),
        default_memory_per_cpu=parsing.parse_size(fields.get("DefMemPerCPU", "")),
        allowed_accounts=_split_unless_all(fields.get("AllowAccounts", "ALL")),
        denied_accounts=parsing.split_names(fields.get("DenyAccounts", "")),
        allowed_groups=_split_unless_all(fields.get("AllowGroups", "ALL")),
        allowed_qos=_split_unless_all(fields.get("AllowQos", "ALL")),
        denied_qos=parsing.split_names(fields.get("DenyQos", "")),
        qos=parsing.parse_text(fields.get("QoS", "")),
        priority_tier=parsing.parse_int(fields["PriorityTier"]) or 0,
        oversubscribe=fields["OverSubscribe"],
        preemption=fields["PreemptMode"],
    )


def _split_unless_all(text: str) -> list[str] | None:
    """Split a comma-separated list; None for ALL."""
    return None if text == "ALL" else parsing.split_names(text)
