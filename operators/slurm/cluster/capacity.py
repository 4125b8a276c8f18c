"""Add up what nodes have: how much of it jobs use, how much they can get, and how much they cannot.

A node counts for itself: the parts of its CPUs, memory and GPUs add up to what it has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from typing_extensions import TypedDict

from operators.slurm.cluster.node_records import NodeRecord
from operators.slurm.resources.generic_resources import ResourceCounts, gpus_of


class Capacity(TypedDict):
    """An amount of a resource in three parts, which add up to the total."""

    total: int
    allocated: int
    """The part that jobs use."""
    available: int
    """The part that jobs of anybody can get: not allocated, on nodes that accept jobs."""
    unavailable: int
    """The rest: not allocated, but on nodes that are down, drained, reserved, …; or set aside for
    the system (CoreSpecCount, MemSpecLimit)."""


class NodeCapacity(TypedDict):
    """The resources of a number of nodes."""

    nodes: Capacity
    """A node is allocated if any job is on it, and available if it is empty and accepts jobs."""
    nodes_by_status: dict[str, int]
    """The number of nodes by `status`, as in `nodes`: IDLE, MIXED, ALLOCATED, DRAINED, DOWN, …"""
    cpus: Capacity
    """Slurm's CPUs: cores, or hardware threads where the site allocates those."""
    cores: Capacity
    """Physical cores; one is allocated if any of its threads is."""
    memory: Capacity
    """Bytes."""
    gpus: Capacity
    gpus_by_type: dict[str, Capacity]
    """The GPUs by type (`gpu` where Slurm names none)."""


class MeasuredNode(NamedTuple):
    """The resources of one node."""

    status: str
    nodes: Capacity
    cpus: Capacity
    cores: Capacity
    memory: Capacity
    gpus: dict[str, Capacity]
    """By type."""


def measure(node: NodeRecord) -> MeasuredNode:
    """Return the resources of a node."""
    return MeasuredNode(
        status=node.state.status,
        nodes=_capacity(1, int(node.has_jobs), int(node.state.accepts_jobs)),
        cpus=_capacity(node.count("CPUTot"), node.count("CPUAlloc"), node.available_cpus),
        cores=_cores(node),
        memory=_capacity(node.bytes("RealMemory"), node.bytes("AllocMem"), node.available_memory),
        gpus={kind: _gpus(counts) for kind, counts in gpus_of(node.resources).items()},
    )


def add_up_nodes(nodes: Sequence[MeasuredNode]) -> NodeCapacity:
    """Return the resources of the nodes together."""
    by_type: dict[str, list[Capacity]] = {}
    for node in nodes:
        for kind, gpus in node.gpus.items():
            by_type.setdefault(kind, []).append(gpus)
    sums = {kind: _sum(parts) for kind, parts in by_type.items()}
    return NodeCapacity(
        nodes=_sum(node.nodes for node in nodes),
        nodes_by_status=dict(Counter(node.status for node in nodes).most_common()),
        cpus=_sum(node.cpus for node in nodes),
        cores=_sum(node.cores for node in nodes),
        memory=_sum(node.memory for node in nodes),
        gpus=_sum(sums.values()),
        gpus_by_type=sums,
    )


def _capacity(total: int, allocated: int, available: int) -> Capacity:
    """Divide a total; where jobs share CPUs, more may be allocated than there is."""
    used = min(allocated, total)
    left = min(available, total - used)
    return Capacity(total=total, allocated=used, available=left, unavailable=total - used - left)


def _sum(parts: Iterable[Capacity]) -> Capacity:
    sums = Capacity(total=0, allocated=0, available=0, unavailable=0)
    for part in parts:
        sums["total"] += part["total"]
        sums["allocated"] += part["allocated"]
        sums["available"] += part["available"]
        sums["unavailable"] += part["unavailable"]
    return sums


def _cores(node: NodeRecord) -> Capacity:
    cpus = node.count("CPUTot")
    # A site may configure fewer CPUs than cores; then each CPU is a core.
    total = min(node.count("Sockets") * node.count("CoresPerSocket"), cpus) or cpus
    threads = max(1, cpus // max(1, total))
    allocated = -(-node.count("CPUAlloc") // threads)
    return _capacity(total, allocated, node.available_cpus // threads)


def _gpus(counts: ResourceCounts) -> Capacity:
    return _capacity(counts["total"], counts["allocated"], counts["available"])
