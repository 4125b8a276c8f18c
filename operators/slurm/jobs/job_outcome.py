"""Find out how a job ended, part by part: the job, an array's tasks, or its components."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import NamedTuple, TypeVar

from typing_extensions import TypedDict

from operators.slurm import accounting
from operators.slurm.accounting import ACCOUNTING_DELAYS, PastJob
from operators.slurm.job_types import UNFINISHED_STATES, JobEntry, matches_id
from operators.slurm.jobs.job_queue import exit_codes
from operators.slurm.parsing import JobId, expand_indexes
from operators.slurm.reasons.job_reasons import reason_of_end
from resop import CommandFailed, DaemonUnavailable, Shell

AnyJob = TypeVar("AnyJob", bound=JobEntry)


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


def count_tasks(jobs: Iterable[JobEntry]) -> int:
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


def count_by_state(jobs: Iterable[JobEntry], parts: Iterable[JobPart] = ()) -> dict[str, int]:
    """Count jobs and tasks by state."""
    states: Counter[str] = Counter()
    for job in jobs:
        states[job["state"]] += _count(job)
    for part in parts:
        states[part["state"]] += part["count"]
    return dict(states)


def group_by_number(jobs: Iterable[AnyJob]) -> dict[int, list[AnyJob]]:
    """Return the jobs by each number that may name them, for `select`."""
    groups: dict[int, list[AnyJob]] = {}
    for job in jobs:
        for number in {job["job"], job["raw_id"]}:
            groups.setdefault(number, []).append(job)
    return groups


class KnownJob(NamedTuple):
    """A job or a part of one, as far as the queue shows it."""

    target: JobId
    queue: Sequence[JobEntry]
    """Its entries in the queue, and entries that have left it."""
    total: int
    """The number of its parts that must have ended."""

    @property
    def ended(self) -> list[JobEntry]:
        """The entries that have ended."""
        return [job for job in self.queue if job["state"] not in UNFINISHED_STATES]


def ended_parts(shell: Shell, jobs: Sequence[KnownJob]) -> list[list[JobPart]]:
    """Return the ended parts of each job, from the accounting database or else from the queue.

    The database is asked again for a few seconds while it has fewer parts of a job in the queue
    than have ended. Without a database, or while it cannot be reached, the entries last read from
    the queue must do.
    """
    if not jobs:
        return []
    try:
        accounted = _accounted_parts(shell, jobs)
    except (CommandFailed, DaemonUnavailable) as fault:
        if any(count_tasks(job.ended) < job.total or not job.queue for job in jobs):
            raise
        shell.log(f"using the queue instead of the accounting database: {fault.message}")
        accounted = [[] for _ in jobs]
    answer = []
    for job, parts in zip(jobs, accounted, strict=True):
        ids = {part["id"] for part in parts}
        missing = [entry for entry in job.ended if entry["id"] not in ids]
        answer.append(sorted([*parts, *_queued_parts(shell, job, missing)], key=_sort_key))
    return answer


def _accounted_parts(shell: Shell, jobs: Sequence[KnownJob]) -> list[list[JobPart]]:
    """Return the ended parts in the accounting database, which may lag behind the queue."""
    numbers = ",".join(sorted({str(job.target.job) for job in jobs}))
    # At first the database has an array task under its own number only.
    ids = {entry["raw_id"]: entry["id"] for job in jobs for entry in job.ended if entry["raw_id"]}
    found: list[list[PastJob]] = []
    for delay in (0, *(ACCOUNTING_DELAYS if any(job.total for job in jobs) else ())):
        time.sleep(delay)
        listed = reversed(accounting.list_past_jobs(shell, f"--jobs={numbers}"))
        past = accounting.drop_reused(listed, (entry for job in jobs for entry in job.ended))
        groups = group_by_number(each for each in past if each["state"] not in UNFINISHED_STATES)
        found = [select(groups.get(job.target.job, ()), job.target) for job in jobs]
        if all(count_tasks(f) >= job.total for f, job in zip(found, jobs, strict=True)):
            break
    for each in (each for group in found for each in group):
        if each["id"] == str(each["raw_id"]):
            each["id"] = ids.get(each["raw_id"], each["id"])
    return [[_part(each, (each["exit_code"], each["signal"])) for each in group] for group in found]


def _queued_parts(shell: Shell, job: KnownJob, entries: Sequence[JobEntry]) -> list[JobPart]:
    """Return ended parts from the queue, with the exit codes that slurmctld still has."""
    codes: Mapping[int, tuple[int, int]] = {}
    if entries:
        try:
            codes = exit_codes(shell, job.target.job)
        except DaemonUnavailable as fault:
            shell.log(f"exit codes are unknown: {fault.message}")
    return [_part(entry, codes.get(entry["raw_id"], (None, None))) for entry in entries]


def _part(job: JobEntry, exit_status: tuple[int | None, int | None]) -> JobPart:
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


def _count(job: JobEntry) -> int:
    return len(expand_indexes(job["tasks"])) if job["tasks"] else 1
