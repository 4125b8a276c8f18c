"""List the jobs in the queue: running ones, pending ones, and why they are pending."""

from typing import Annotated

from pydantic import Field

from operators.slurm.client import on_cluster
from operators.slurm.job_queue import QueuedJob, id_filter, list_jobs
from operators.slurm.job_resources import NO_RESOURCES, JobResources, read_resources
from operators.slurm.job_types import JobIds, JobName, JobState, NameList, SlurmCluster
from operators.slurm.known_names import check_accounts, check_partitions
from operators.slurm.parsing import JobId
from resop import Shell, operation


class ListedJob(QueuedJob, JobResources):
    """A job in the queue, with its memory and GPUs."""


@operation(
    share_for=2,
    examples=[
        {"users": ["alice"]},
        {"partitions": ["batch"], "states": ["PENDING"]},
        {"ids": ["4242", "4243_7"]},
    ],
)
def jobs(
    shell: Shell,
    users: Annotated[NameList | None, Field(description="only jobs of these users")] = None,
    states: Annotated[
        list[JobState] | None,
        Field(min_length=1, description="only jobs in these states (default: all unfinished ones)"),
    ] = None,
    partitions: Annotated[
        NameList | None, Field(description="only jobs in these partitions")
    ] = None,
    accounts: Annotated[NameList | None, Field(description="only jobs of these accounts")] = None,
    names: Annotated[
        list[JobName] | None, Field(min_length=1, description="only jobs with exactly these names")
    ] = None,
    ids: Annotated[
        JobIds | None, Field(description="only these jobs (123) and array tasks (123_4)")
    ] = None,
    each_task: Annotated[
        bool,
        Field(description="list each pending task of an array by itself, not all as one entry"),
    ] = False,
    cluster: SlurmCluster = None,
) -> list[ListedJob]:
    """Return the jobs that match all filters, ordered by id.

    Some minutes after its end (MinJobAge) a job leaves the queue: see `history`.
    """
    lists = {"user": users, "states": states, "partition": partitions, "account": accounts}
    filters = [f"--{name}={','.join(values)}" for name, values in lists.items() if values]
    if each_task:
        filters.append("--array")
    with on_cluster(cluster):
        targets = [JobId.parse(each) for each in ids or ()]
        found = list_jobs(shell, *filters, ids=targets)
        if not found:
            check_partitions(shell, partitions)
            check_accounts(shell, accounts)
        # Not squeue's filter, which splits names at commas.
        named = [job for job in found if names is None or job["name"] in names]
        resources = read_resources(shell, *filters, *id_filter(targets)) if named else {}
    return [ListedJob(**job, **resources.get(job["raw_id"], NO_RESOURCES)) for job in named]
