"""List each pending task of an array by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from operators.slurm.job_queue import JobRow, list_rows
from operators.slurm.job_types import matches_id
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
    (`1-19:2`), so the arrays are listed as well.
    """
    rows = list_rows(shell, *filters, "--array", ids=ids, names=names, fields=fields)
    if not any(_may_be_pending(row) for row in rows):
        return rows
    arrays = list_rows(shell, *filters, ids=ids, names=names, fields=["id"])
    missing = _missing_tasks(rows, arrays)
    if ids:
        missing = (row for row in missing if any(matches_id(row.job(), each) for each in ids))
    return sorted([*rows, *missing], key=lambda row: row.position)


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
