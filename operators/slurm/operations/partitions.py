"""The cluster's partitions: limits, who may use them, and how busy they are."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import listings, parsing
from operators.slurm.client import ask
from operators.slurm.job_types import Bytes, Names, Seconds
from resop import Shell, operation


class Cpus(TypedDict):
    """CPUs by what they do; `other` are those of nodes that take no jobs."""

    allocated: int
    idle: int
    other: int
    total: int


class Partition(TypedDict):
    """A partition. No limit is None, and so is everybody, where somebody may use it."""

    name: str
    state: str
    """UP, DOWN, DRAIN or INACTIVE."""
    is_default: bool
    is_hidden: bool
    nodes: int
    node_names: list[str]
    nodes_by_state: dict[str, int]
    """How many are IDLE, MIXED, ALLOCATED, DRAINING, DOWN, …"""
    cpus: Cpus
    gpus: int
    memory: Bytes
    """Of all nodes."""
    max_time: Seconds | None
    default_time: Seconds | None
    min_nodes: int
    max_nodes: int | None
    """Of a job."""
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
    """NO, YES:4, EXCLUSIVE, …: whether jobs share what they are given."""
    preemption: str


@operation(share_for=5, examples=[{}, {"names": ["debug", "batch"]}])
def partitions(
    shell: Shell, names: Annotated[Names | None, Field(description="only these")] = None
) -> list[Partition]:
    """Return the partitions in the site's own order, hidden ones too."""
    told = ask(shell, "scontrol", "--all", "--oneliner", "show", "partition").lines
    how = ("--all", "--noheader", "--format=%R|%T|%D|%C")  # C: allocated/idle/other/total
    nodes = defaultdict[str, list[list[str]]](list)
    for line in ask(shell, "sinfo", *how).lines:
        name, *about = line.split("|")
        nodes[name].append(about)
    found = [_partition(each, nodes[each["PartitionName"]]) for each in listings.records(told)]
    return [partition for partition in found if names is None or partition["name"] in names]


def _partition(told: listings.Row, nodes: Iterable[list[str]]) -> Partition:
    states: Counter[str] = Counter()
    cpus = [0, 0, 0, 0]
    for state, number, by_use in nodes:
        states[re.sub(r"[^A-Z_]", "", state.upper())] += int(number)
        cpus = [have + int(more) for have, more in zip(cpus, by_use.split("/"), strict=True)]
    resources = parsing.tres(told.get("TRES", ""))
    return Partition(
        name=told["PartitionName"],
        state=told["State"],
        is_default=told["Default"] == "YES",
        is_hidden=told["Hidden"] == "YES",
        nodes=int(told["TotalNodes"]),
        node_names=parsing.hostlist(told["Nodes"]),
        nodes_by_state=dict(states),
        cpus=Cpus(allocated=cpus[0], idle=cpus[1], other=cpus[2], total=cpus[3]),
        gpus=resources.get("gres/gpu", 0),
        memory=resources.get("mem", 0),
        max_time=parsing.duration(told["MaxTime"]),
        default_time=parsing.duration(told["DefaultTime"]),
        min_nodes=int(told["MinNodes"]),
        max_nodes=parsing.whole(told["MaxNodes"]),
        max_cpus_per_node=parsing.whole(told["MaxCPUsPerNode"]),
        max_memory_per_node=parsing.memory(told.get("MaxMemPerNode", "")),
        max_memory_per_cpu=parsing.memory(told.get("MaxMemPerCPU", "")),
        default_memory_per_node=parsing.memory(told.get("DefMemPerNode", "")),
        default_memory_per_cpu=parsing.memory(told.get("DefMemPerCPU", "")),
        allowed_accounts=_some(told.get("AllowAccounts", "ALL")),
        denied_accounts=parsing.words(told.get("DenyAccounts", "")),
        allowed_groups=_some(told.get("AllowGroups", "ALL")),
        allowed_qos=_some(told.get("AllowQos", "ALL")),
        qos=parsing.given(told.get("QoS", "")),
        priority_tier=int(told["PriorityTier"]),
        oversubscribe=told["OverSubscribe"],
        preemption=told["PreemptMode"],
    )


def _some(text: str) -> list[str] | None:
    """The names of a list; None for all."""
    return None if text == "ALL" else parsing.words(text)
