"""Find out how a job ended, part by part: the job, an array's tasks, or its components."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import TypeVar

from typing_extensions import TypedDict

from operators.slurm import accounting
from operators.slurm.accounting import ACCOUNTING_DELAYS, PastJob
from operators.slurm.job_queue import exit_codes
from operators.slurm.job_reasons import reason_of_end
from operators.slurm.job_types import UNFINISHED_STATES, Job, matches_id
from operators.slurm.parsing import JobId, expand_indexes
from resop import CommandFailed, DaemonUnavailable, Shell

AnyJob = TypeVar("AnyJob", bound=Job)


class JobPart(TypedDict):
    """A part of a job that has ended."""

    id: str
    """123, 123_4, 123+1; 123_[5-9] for tasks of an array that never started."""
    count: int
    """The number of tasks in this part."""
    state: str
    exit_code: int | None
    signal: int | None
    reason: str | None
    """Why the part failed, such as NonZeroExitCode, TimeLimit or OutOfMemory."""


def unfinished(jobs: Iterable[AnyJob]) -> list[AnyJob]:
    """Return the jobs that have not ended."""
    return [job for job in jobs if job["state"] in UNFINISHED_STATES]


def count_tasks(jobs: Iterable[Job]) -> int:
    """Count the jobs; pending tasks of an array, which share an entry, one by one."""
    return sum(_count(job) for job in jobs)


def select(jobs: Iterable[AnyJob], target: JobId) -> list[AnyJob]:
    """Return the jobs that `target` names; an entry for several tasks is reduced to those named."""
    if target.task is None and target.tasks is None:
        return [job for job in jobs if matches_id(job, target)]
    bounds = [part.split("-") for part in (target.tasks or str(target.task)).split(",")]
    ranges = [range(int(each[0]), int(each[-1]) + 1) for each in bounds]
    selected = []
    for job in jobs:
        tasks = expand_indexes(job["tasks"]) if job["tasks"] else [job["task"]]
        named = [str(task) for task in tasks if any(task in each for each in ranges)]
        if job["job"] == target.job and named:
            selected.append(copy(job))
            if job["tasks"]:
                selected[-1]["tasks"] = indexes = ",".join(named)
                bracketed = indexes if len(named) == 1 else f"[{indexes}]"
                selected[-1]["id"] = f"{target.job}_{bracketed}"
    return selected


def count_by_state(jobs: Iterable[Job], parts: Iterable[JobPart] = ()) -> dict[str, int]:
    """Count jobs and tasks by state."""
    states: Counter[str] = Counter()
    for job in jobs:
        states[job["state"]] += _count(job)
    for part in parts:
        states[part["state"]] += part["count"]
    return dict(states)


def ended_parts(shell: Shell, target: JobId, queue: Sequence[Job], total: int) -> list[JobPart]:
    """Return the parts that have ended, from the accounting database or else from the queue.

    The database is asked again for a few seconds while it has fewer than `total` parts of a job
    that was in the queue. Without a database, or while it cannot be reached, the entries last read
    from the `queue` must do.
    """
    known = [job for job in queue if job["state"] not in UNFINISHED_STATES]
    try:
        parts = _accounted_parts(shell, target, known, total)
    except (CommandFailed, DaemonUnavailable) as fault:
        if count_tasks(known) < total or not queue:
            raise
        shell.log(f"using the queue instead of the accounting database: {fault.message}")
        parts = []
    ids = {part["id"] for part in parts}
    missing = [job for job in known if job["id"] not in ids]
    return sorted([*parts, *_queued_parts(shell, target, missing)], key=_sort_key)


def _accounted_parts(
    shell: Shell, target: JobId, known: Sequence[Job], total: int
) -> list[JobPart]:
    """Return the ended parts in the accounting database, which may lag behind the queue."""
    # At first the database has an array task under its own number only.
    ids = {job["raw_id"]: job["id"] for job in known}
    jobs: list[PastJob] = []
    for delay in (0, *(ACCOUNTING_DELAYS if total else ())):
        time.sleep(delay)
        found = select(accounting.drop_reused(accounting.find(shell, target), known), target)
        jobs = [job for job in found if job["state"] not in UNFINISHED_STATES]
        if count_tasks(jobs) >= total:
            break
    for job in jobs:
        if job["id"] == str(job["raw_id"]):
            job["id"] = ids.get(job["raw_id"], job["id"])
    return [_part(job, (job["exit_code"], job["signal"])) for job in jobs]


def _queued_parts(shell: Shell, target: JobId, jobs: Sequence[Job]) -> list[JobPart]:
    """Return ended parts from the queue, with the exit codes that slurmctld still has."""
    codes: Mapping[int, tuple[int, int]] = {}
    if jobs:
        try:
            codes = exit_codes(shell, target.job)
        except DaemonUnavailable as fault:
            shell.log(f"exit codes are unknown: {fault.message}")
    return [_part(job, codes.get(job["raw_id"], (None, None))) for job in jobs]


def _part(job: Job, exit_status: tuple[int | None, int | None]) -> JobPart:
    code, signal = exit_status
    state = job["state"]
    return JobPart(
        id=job["id"],
        count=_count(job),
        state=state,
        exit_code=code,
        signal=signal,
        reason=reason_of_end(state, code, signal, job["reason"]),
    )


def _sort_key(part: JobPart) -> tuple[int, int]:
    job = JobId.parse(part["id"])
    index = expand_indexes(job.tasks)[0] if job.tasks else job.task or 0
    return (index, job.component or 0)


def _count(job: Job) -> int:
    return len(expand_indexes(job["tasks"])) if job["tasks"] else 1
