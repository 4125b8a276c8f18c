"""How a job ended, part by part: the job itself, the tasks of an array, components."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import TypeVar

from typing_extensions import TypedDict

from operators.slurm import accounting
from operators.slurm.accounting import PastJob
from operators.slurm.job_queue import QueuedJob, exit_codes
from operators.slurm.job_types import NOT_ENDED, Job, is_asked
from operators.slurm.parsing import JobId, indexes
from resop import CommandFailed, DaemonUnavailable, Shell

AnyJob = TypeVar("AnyJob", bound=Job)

PAUSES = (0, 0.3, 0.7, 2.0)
"""Seconds between looks: slurmdbd is 0.3 s behind slurmctld, 2.5 s for the first job ever."""


class Part(TypedDict):
    """A part of a job that has ended."""

    id: str
    """123, 123_4, 123+1; 123_[5-9] for tasks of an array that never began."""
    count: int
    """How many tasks it stands for."""
    state: str
    exit_code: int | None
    signal: int | None


def waiting(jobs: Iterable[AnyJob]) -> list[AnyJob]:
    """Those that have not ended."""
    return [job for job in jobs if job["state"] in NOT_ENDED]


def count(jobs: Iterable[Job]) -> int:
    """How many jobs and tasks such rows stand for."""
    return sum(_count(job) for job in jobs)


def meant(jobs: Iterable[AnyJob], wanted: JobId) -> list[AnyJob]:
    """Those rows that are meant; of one that stands for several tasks, the meant ones alone."""
    if wanted.task is None and wanted.tasks is None:
        return [job for job in jobs if is_asked(job, wanted)]
    bounds = [part.split("-") for part in (wanted.tasks or str(wanted.task)).split(",")]
    ranges = [range(int(each[0]), int(each[-1]) + 1) for each in bounds]
    found = []
    for job in jobs:
        tasks = indexes(job["tasks"]) if job["tasks"] else [job["task"]]
        own = [str(task) for task in tasks if any(task in each for each in ranges)]
        if job["job"] == wanted.job and own:
            found.append(copy(job))
            if job["tasks"]:
                found[-1]["tasks"] = these = ",".join(own)
                found[-1]["id"] = f"{wanted.job}_{these if len(own) == 1 else f'[{these}]'}"
    return found


def by_state(jobs: Iterable[Job], parts: Iterable[Part] = ()) -> dict[str, int]:
    """How many jobs and tasks are in which state."""
    states: Counter[str] = Counter()
    for job in jobs:
        states[job["state"]] += _count(job)
    for part in parts:
        states[part["state"]] += part["count"]
    return dict(states)


def ended(shell: Shell, wanted: JobId, seen: Sequence[QueuedJob], total: int) -> list[Part]:
    """The parts that have ended: as accounted, else as they were `seen` in the queue.

    The accounting database is looked at again for a while as long as it has less than `total`.
    A cluster without one, or whose database is away, is told by what was seen, if that is all.
    """
    known = [job for job in seen if job["state"] not in NOT_ENDED]
    try:
        parts = _accounted(shell, wanted, known, total)
    except (CommandFailed, DaemonUnavailable) as fault:
        if count(known) < total or not seen:
            raise
        shell.log(f"as the queue has it: {fault.message}")
        parts = []
    ids = {part["id"] for part in parts}
    left = [job for job in known if job["id"] not in ids]
    return sorted([*parts, *_unaccounted(shell, wanted, left)], key=_place)


def _accounted(shell: Shell, wanted: JobId, known: Sequence[QueuedJob], total: int) -> list[Part]:
    """What has ended by the accounting database; waited for while it has less than `total`."""
    # For a moment the database has a task of an array by its own number alone.
    ids = {job["raw_id"]: job["id"] for job in known}
    jobs: list[PastJob] = []
    for pause in PAUSES:
        time.sleep(pause)
        found = meant(accounting.find(shell, wanted), wanted)
        jobs = [job for job in found if job["state"] not in NOT_ENDED]
        if count(jobs) >= total:
            break
    for job in jobs:
        if job["id"] == str(job["raw_id"]):
            job["id"] = ids.get(job["raw_id"], job["id"])
    return [_part(job, (job["exit_code"], job["signal"])) for job in jobs]


def _unaccounted(shell: Shell, wanted: JobId, jobs: Sequence[QueuedJob]) -> list[Part]:
    """What has ended by the queue, with the exit codes that slurmctld still has."""
    codes: Mapping[int, tuple[int, int]] = {}
    if jobs:
        try:
            codes = exit_codes(shell, wanted.job)
        except DaemonUnavailable as fault:
            shell.log(f"without exit codes: {fault.message}")
    return [_part(job, codes.get(job["raw_id"], (None, None))) for job in jobs]


def _part(job: Job, ended_with: tuple[int | None, int | None]) -> Part:
    code, signal = ended_with
    return Part(id=job["id"], count=_count(job), state=job["state"], exit_code=code, signal=signal)


def _place(part: Part) -> tuple[int, int]:
    job = JobId.parse(part["id"])
    return (indexes(job.tasks)[0] if job.tasks else job.task or 0, job.component or 0)


def _count(job: Job) -> int:
    return len(indexes(job["tasks"])) if job["tasks"] else 1
