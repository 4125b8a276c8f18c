"""List the jobs in the queue: running ones, pending ones, and why they are pending."""

from typing import Annotated

from pydantic import Field

from operators.slurm.client import on_cluster
from operators.slurm.job_types import JobIds, JobName, JobState, NameList, SlurmCluster
from operators.slurm.jobs.array_tasks import list_tasks
from operators.slurm.jobs.job_queue import JobRow, QueuedJob, id_filter, list_rows
from operators.slurm.jobs.job_resources import NO_RESOURCES, JobResources, read_resources
from operators.slurm.known_names import check_accounts, check_partitions
from operators.slurm.paging import (
    CHOSEN_FIELDS,
    FieldOf,
    Limit,
    Offset,
    Page,
    is_page,
    on_page,
    page,
)
from operators.slurm.parsing import JobId
from resop import Shell, operation

MAX_IDS = 1000
"""Jobs whose resources are requested by id."""


class ListedJob(QueuedJob, JobResources):
    """A job in the queue, with its memory and GPUs."""


@operation(
    share_for=2,
    examples=[
        {"users": ["alice"]},
        {"partitions": ["batch"], "states": ["PENDING"]},
        {"ids": ["4242", "4243_7"]},
        {"fields": ["id", "name", "state", "reason", "elapsed"], "limit": 50, "offset": 100},
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
    fields: Annotated[list[Annotated[str, FieldOf(ListedJob)]] | None, CHOSEN_FIELDS] = None,
    limit: Limit = None,
    offset: Offset = None,
    cluster: SlurmCluster = None,
) -> list[ListedJob] | Page[ListedJob]:
    """Return the jobs that match all filters, ordered by id.

    With `fields`, `limit` or `offset` the answer is a page: `items`, `total` and `next`. Some
    minutes after its end (MinJobAge) a job leaves the queue: see `history`.
    """
    lists = {"user": users, "states": states, "partition": partitions, "account": accounts}
    filters = [f"--{name}={','.join(values)}" for name, values in lists.items() if values]
    targets = [JobId.parse(each) for each in ids or ()]
    with on_cluster(cluster):
        # Not squeue's filter for names, which splits them at commas.
        list_them = list_tasks if each_task else list_rows
        rows = list_them(shell, *filters, ids=targets, names=names, fields=fields)
        if not rows:
            check_partitions(shell, partitions)
            check_accounts(shell, accounts)
        shown = on_page(rows, limit, offset)
        resources: dict[int, JobResources] = {}
        if shown and (fields is None or {*fields} & {*NO_RESOURCES}):
            is_part = len(shown) < len(rows) and len(shown) <= MAX_IDS
            by_id = [row.id for row in shown] if is_part else targets
            resources = read_resources(shell, *filters, *id_filter(by_id))

    def describe(row: JobRow) -> ListedJob:
        return ListedJob(**row.job(), **resources.get(row.raw_id, NO_RESOURCES))

    if is_page(fields, limit, offset):
        return page(rows, fields, limit, offset, describe)
    return [describe(row) for row in rows]
