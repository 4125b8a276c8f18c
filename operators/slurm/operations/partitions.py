"""List the partitions: limits, access, and current use."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import listings, parsing
from operators.slurm.client import ask, on_cluster, unreadable
from operators.slurm.generic_resources import ResourceCounts, gpus_of
from operators.slurm.job_types import Bytes, NameList, Seconds, SlurmCluster
from operators.slurm.known_names import refuse_unknown
from operators.slurm.node_records import NodeRecord, read_nodes
from resop import Shell, operation


class CpuCounts(TypedDict):
    """CPUs by use; `other` counts those of nodes that accept no jobs."""

    allocated: int
    idle: int
    other: int
    total: int


class Partition(TypedDict):
    """A partition; None means no limit, or for `allowed_…` no restriction."""

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
    gpus_by_type: dict[str, ResourceCounts]
    """The GPUs by type (`gpu` if they have none)."""
    memory: Bytes
    """The memory of all nodes together."""
    allocated_memory: Bytes
    max_time: Seconds | None
    default_time: Seconds | None
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
    qos: str | None
    priority_tier: int
    oversubscribe: str
    """The sharing of resources between jobs: NO, YES:4, EXCLUSIVE, …"""
    preemption: str


@operation(share_for=5, examples=[{}, {"names": ["debug", "batch"]}])
def partitions(
    shell: Shell,
    names: Annotated[NameList | None, Field(description="only these partitions")] = None,
    cluster: SlurmCluster = None,
) -> list[Partition]:
    """Return the partitions in the site's order, including hidden ones."""
    with on_cluster(cluster):
        answer = ask(shell, "scontrol", "--all", "--oneliner", "show", "partition")
        members = defaultdict[str, list[NodeRecord]](list)
        for node in read_nodes(shell):
            for name in node.partitions:
                members[name].append(node)
    lines = [line for line in answer.lines if line.startswith("PartitionName=")]
    try:
        found = [
            _partition(each, members[each["PartitionName"]]) for each in listings.records(lines)
        ]
    except (KeyError, ValueError):
        raise unreadable("scontrol", answer.stdout) from None
    refuse_unknown("partition", names or (), [each["name"] for each in found])
    return [partition for partition in found if names is None or partition["name"] in names]


def _cpu_counts(nodes: Sequence[NodeRecord]) -> CpuCounts:
    """Count the CPUs by use, as `sinfo --format=%C` does."""
    allocated, total = (sum(node.count(name) for node in nodes) for name in ("CPUAlloc", "CPUTot"))
    idle = sum(
        node.count("CPUTot") - node.count("CPUAlloc") for node in nodes if node.state.is_in_service
    )
    return CpuCounts(allocated=allocated, idle=idle, other=total - allocated - idle, total=total)


def _gpus_by_type(nodes: Sequence[NodeRecord]) -> dict[str, ResourceCounts]:
    sums: dict[str, ResourceCounts] = {}
    for node in nodes:
        for kind, counts in gpus_of(node.resources).items():
            so_far = sums.setdefault(kind, ResourceCounts(total=0, allocated=0))
            so_far["total"] += counts["total"]
            so_far["allocated"] += counts["allocated"]
    return sums


def _partition(fields: listings.TableRow, nodes: Sequence[NodeRecord]) -> Partition:
    gpus = _gpus_by_type(nodes)
    return Partition(
        name=fields["PartitionName"],
        state=fields["State"],
        is_default=fields["Default"] == "YES",
        is_hidden=fields["Hidden"] == "YES",
        nodes=int(fields["TotalNodes"]),
        node_names=parsing.expand_nodes(fields["Nodes"]),
        nodes_by_state=dict(Counter(node.state.status for node in nodes)),
        cpus=_cpu_counts(nodes),
        gpus=sum(counts["total"] for counts in gpus.values()),
        allocated_gpus=sum(counts["allocated"] for counts in gpus.values()),
        gpus_by_type=gpus,
        memory=sum(node.bytes("RealMemory") for node in nodes),
        allocated_memory=sum(node.bytes("AllocMem") for node in nodes),
        max_time=parsing.parse_duration(fields["MaxTime"]),
        default_time=parsing.parse_duration(fields["DefaultTime"]),
        min_nodes=int(fields["MinNodes"]),
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
        qos=parsing.parse_text(fields.get("QoS", "")),
        priority_tier=int(fields["PriorityTier"]),
        oversubscribe=fields["OverSubscribe"],
        preemption=fields["PreemptMode"],
    )


def _split_unless_all(text: str) -> list[str] | None:
    """Split a comma-separated list; None for ALL."""
    return None if text == "ALL" else parsing.split_names(text)
