"""Show the whole cluster at a glance: nodes, cores, memory, GPUs, and jobs by state."""

from __future__ import annotations

from collections.abc import Callable

from operators.slurm.client import on_cluster
from operators.slurm.cluster.capacity import MeasuredNode, NodeCapacity, add_up_nodes, measure
from operators.slurm.cluster.node_records import NodeRecord, by_partition, read_nodes
from operators.slurm.cluster.partition_records import PartitionRecord, read_partitions
from operators.slurm.job_types import SlurmCluster
from operators.slurm.jobs.job_counts import CountedJobs, JobCounts, add_up_jobs, read_counts
from resop import Shell, operation


class PartitionOverview(NodeCapacity):
    """The resources and the jobs of a partition."""

    name: str
    state: str
    """UP, DOWN, DRAIN or INACTIVE; only one that is UP starts jobs, whatever is available."""
    is_default: bool
    is_hidden: bool
    jobs: JobCounts
    """Its jobs; a pending job that names several partitions counts in each."""


class Overview(NodeCapacity):
    """The resources and the jobs of a cluster."""

    jobs: JobCounts
    """The jobs in the queue, as far as the cluster shows them."""
    own_jobs: JobCounts
    """The jobs of the user who asks."""
    partitions: list[PartitionOverview]
    """In the site's order, with hidden ones; a node may be in several."""


@operation(share_for=5, examples=[{}, {"cluster": "mini"}])
def overview(shell: Shell, cluster: SlurmCluster = None) -> Overview:
    """Return the resources of all nodes, and the number of jobs by state.

    Of each resource, `allocated` is what jobs use, `available` what jobs of anybody can get, and
    `unavailable` the rest: what is not allocated on nodes that are down, drained, reserved, …, or
    is set aside for the system. The three add up to `total`, and `allocated` and `available` are
    the sums of the fields of `nodes`. Each task of an array counts as one job, like
    the entries of `jobs` with `each_task`. Nodes and jobs are read at the same time, but a job may
    start or end in between.
    """
    with on_cluster(cluster):
        nodes, partitions, jobs = _read(shell)
    measured = {node.name: measure(node) for node in nodes}
    members = by_partition(nodes)
    return Overview(
        **add_up_nodes([*measured.values()]),
        jobs=add_up_jobs(jobs),
        own_jobs=add_up_jobs(each for each in jobs if each.user == shell.username),
        partitions=[
            _partition(each, [measured[node.name] for node in members.get(each.name, [])], jobs)
            for each in partitions
        ],
    )


def _read(
    shell: Shell,
) -> tuple[list[NodeRecord], list[PartitionRecord], list[CountedJobs]]:
    """Ask three questions at the same time."""
    nodes: list[NodeRecord] = []
    partitions: list[PartitionRecord] = []
    jobs: list[CountedJobs] = []
    questions: list[Callable[[], None]] = [
        lambda: nodes.extend(read_nodes(shell)),
        lambda: partitions.extend(read_partitions(shell)),
        lambda: jobs.extend(read_counts(shell)),
    ]
    shell.map(lambda ask: ask(), questions)
    return nodes, partitions, jobs


def _partition(
    record: PartitionRecord, nodes: list[MeasuredNode], jobs: list[CountedJobs]
) -> PartitionOverview:
    return PartitionOverview(
        name=record.name,
        state=record.state,
        is_default=record.is_default,
        is_hidden=record.is_hidden,
        jobs=add_up_jobs(each for each in jobs if record.name in each.partitions),
        **add_up_nodes(nodes),
    )
