"""List each pending task of an array by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from operators.slurm.job_types import matches_id
from operators.slurm.jobs.job_queue import JobRow, QueuedJob, list_rows
from operators.slurm.parsing import JobId, expand_indexes
from resop import Shell


def list_tasks(
    shell: Shell,
    *filters: str,
    ids: Sequence[JobId] = (),
    names: Collection[str] | None = None,
    fields: Collection[str] | None = None,
) -> list[JobRow]:
    """Return the rows that `list_rows` returns, but one for each pending task of an array.

    `squeue --array` of 22.05 leaves out the last task of an array that it prints with a step
    (`1-19:2`), so the arrays are listed as well. Their other tasks show what it is like.
    """
    wholes = [*{JobId(each.job) for each in ids}]
    rows = list_rows(shell, *filters, "--array", ids=wholes, names=names, fields=fields)
    if any(_may_be_pending(row) for row in rows):
        arrays = list_rows(shell, *filters, ids=wholes, names=names, fields=["id"])
        rows = sorted([*rows, *_missing_tasks(rows, arrays)], key=lambda row: row.position)
    if any(each not in wholes for each in ids):
        jobs = [(row, row.job()) for row in rows]
        rows = [row for row, job in jobs if any(matches_id(job, each) for each in ids)]
    return rows


def list_task_jobs(shell: Shell, *filters: str, ids: Sequence[JobId] = ()) -> list[QueuedJob]:
    """Return the jobs that match squeue's filters, each pending task of an array by itself."""
    return [row.job() for row in list_tasks(shell, *filters, ids=ids)]


def _may_be_pending(row: JobRow) -> bool:
    """Return True for a task that has no record of its own: it has the number of its array."""
    return row.id.task is not None and row.raw_id == row.id.job


def _missing_tasks(rows: Sequence[JobRow], arrays: Sequence[JobRow]) -> Iterator[JobRow]:
    """Yield the tasks that only the arrays' rows have, like another task of the same array."""
    siblings = {row.id.job: row for row in rows if _may_be_pending(row)}
    listed = {(row.id.job, row.id.task) for row in rows}
    for array in arrays:
        sibling = siblings.get(array.id.job)
        if array.id.tasks is None or sibling is None:
            continue
        for index in expand_indexes(array.id.tasks):
            if (array.id.job, index) not in listed:
                yield sibling.of_task(index)
