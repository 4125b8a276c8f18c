"""List the partitions: limits, access, and current use."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import listings, parsing
from operators.slurm.client import ask
from operators.slurm.job_types import Bytes, NameList, Seconds
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
    """The number of nodes by state: IDLE, MIXED, ALLOCATED, DRAINING, DOWN, …"""
    cpus: CpuCounts
    gpus: int
    memory: Bytes
    """The memory of all nodes together."""
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
) -> list[Partition]:
    """Return the partitions in the site's order, including hidden ones."""
    lines = ask(shell, "scontrol", "--all", "--oneliner", "show", "partition").lines
    flags = ("--all", "--noheader", "--format=%R|%T|%D|%C")  # C: allocated/idle/other/total
    nodes = defaultdict[str, list[list[str]]](list)
    for line in ask(shell, "sinfo", *flags).lines:
        name, *columns = line.split("|")
        nodes[name].append(columns)
    found = [_partition(each, nodes[each["PartitionName"]]) for each in listings.records(lines)]
    return [partition for partition in found if names is None or partition["name"] in names]


def _partition(fields: listings.TableRow, nodes: Iterable[list[str]]) -> Partition:
    states: Counter[str] = Counter()
    cpus = [0, 0, 0, 0]
    for state, number, cpus_by_use in nodes:
        states[re.sub(r"[^A-Z_]", "", state.upper())] += int(number)
        cpus = [
            total + int(count) for total, count in zip(cpus, cpus_by_use.split("/"), strict=True)
        ]
    resources = parsing.parse_tres(fields.get("TRES", ""))
    return Partition(
        name=fields["PartitionName"],
        state=fields["State"],
        is_default=fields["Default"] == "YES",
        is_hidden=fields["Hidden"] == "YES",
        nodes=int(fields["TotalNodes"]),
        node_names=parsing.expand_nodes(fields["Nodes"]),
        nodes_by_state=dict(states),
        cpus=CpuCounts(allocated=cpus[0], idle=cpus[1], other=cpus[2], total=cpus[3]),
        gpus=resources.get("gres/gpu", 0),
        memory=resources.get("mem", 0),
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
