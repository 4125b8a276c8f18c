"""Jobs in the scheduler's queue: what runs, what waits, and why."""

from typing import Annotated

from pydantic import Field

from operators.slurm.job_queue import QueuedJob, queued
from operators.slurm.job_types import JobIds, JobName, Names, State
from operators.slurm.parsing import JobId
from resop import Shell, operation


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
    users: Annotated[Names | None, Field(description="only jobs of these users")] = None,
    states: Annotated[
        list[State] | None,
        Field(min_length=1, description="only jobs in these states; else all that have not ended"),
    ] = None,
    partitions: Annotated[Names | None, Field(description="only jobs in these partitions")] = None,
    accounts: Annotated[Names | None, Field(description="only jobs of these accounts")] = None,
    names: Annotated[
        list[JobName] | None, Field(min_length=1, description="only jobs of exactly these names")
    ] = None,
    ids: Annotated[
        JobIds | None, Field(description="only these jobs (123) and tasks of arrays (123_4)")
    ] = None,
    each_task: Annotated[
        bool, Field(description="a row for each task of an array that waits, not one for all")
    ] = False,
) -> list[QueuedJob]:
    """Return jobs by id; those that fit every filter given.

    A job that has ended leaves the queue some minutes later (MinJobAge): `history` has it.
    """
    lists = {
        "user": users,
        "states": states,
        "partition": partitions,
        "account": accounts,
    }
    filters = [f"--{name}={','.join(given)}" for name, given in lists.items() if given]
    if each_task:
        filters.append("--array")
    found = queued(shell, *filters, ids=[JobId.parse(each) for each in ids or ()])
    # Not by squeue's own filter, which parts names by commas.
    return [job for job in found if names is None or job["name"] in names]
