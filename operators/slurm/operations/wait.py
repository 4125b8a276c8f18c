"""Wait until a job, or all of an array, has ended; tell how it ended."""

import time
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.job_outcome import Part, by_state, count, ended, meant, waiting
from operators.slurm.job_queue import QueuedJob, queued
from operators.slurm.operations.job import is_part
from operators.slurm.parsing import JobId
from operators.slurm.submit_options import OneJob
from resop import DaemonUnavailable, Shell, operation

DAY = 86_400
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
LISTED = 1000


class Ending(TypedDict):
    """How a job ended, or stands when the time was over."""

    id: str
    ended: bool
    succeeded: bool
    """Whether all of it is COMPLETED."""
    state: str
    """RUNNING if some of it runs, COMPLETED if all of it is."""
    states: dict[str, int]
    """How many jobs, tasks or components are in which state; UNKNOWN are tasks of an array that
    were cancelled one by one before they began, which Slurm forgets."""
    reason: str | None
    """Why it still waits."""
    exit_code: int | None
    """The highest of its parts; null while it goes on, or where nobody has kept it."""
    signal: int | None
    failed: list[Part]
    """The parts that ended as anything but COMPLETED, up to 1000."""


@operation(timeout=DAY + 120, examples=[{"id": "4242"}, {"id": "4243", "timeout": 600}])
def wait(
    shell: Shell,
    id: OneJob,
    timeout: Annotated[
        float, Field(ge=0, le=DAY, description="seconds; what the job is then is the answer, too")
    ] = 3600,
) -> Ending:
    """Return how the job ended; with `ended` false when the time was over first.

    The queue is asked at growing intervals, up to 15 s; a job that has left it is looked up in
    the accounting database. The operation fails for a job that neither of them knows. An outage
    that begins while it waits is waited out. A wait takes one of a worker's places.
    """
    deadline = time.monotonic() + timeout
    wanted = JobId.parse(id)
    jobs, total = _looked(shell, wanted), 0
    for pause in _pauses():
        left, total = waiting(jobs), max(total, count(jobs))
        shell.progress(total - count(left), max(total, 1))
        time_left = deadline - time.monotonic()
        if not left or time_left <= 0:
            break
        time.sleep(min(pause, time_left))
        jobs = _looked_again(shell, wanted, jobs, deadline)
    return _ending(shell, wanted, id, jobs, total)


def _looked(shell: Shell, wanted: JobId) -> list[QueuedJob]:
    """The job as it is in the queue now."""
    return meant(queued(shell, "--states=all", ids=[wanted]), wanted)


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 1.5, LONGEST_PAUSE)


def _looked_again(
    shell: Shell, wanted: JobId, before: list[QueuedJob], deadline: float
) -> list[QueuedJob]:
    """The job in the queue now, with those parts that had ended and have left it meanwhile."""
    try:
        now = _looked(shell, wanted)
    except DaemonUnavailable as fault:
        if time.monotonic() >= deadline:
            raise
        shell.log(f"still waiting: {fault.message}")
        return before
    ids = {job["id"] for job in now}
    gone = [job for job in before if job["id"] not in ids]
    return [*now, *(job for job in gone if not waiting([job]))]


def _ending(shell: Shell, wanted: JobId, id: str, jobs: list[QueuedJob], total: int) -> Ending:
    left = waiting(jobs)
    parts: list[Part] = []
    if not left:
        parts = ended(shell, wanted, jobs, max(total, 1))
    elif wanted.task is None and any(is_part(job) for job in jobs):
        parts = ended(shell, wanted, jobs, total - count(left))
    if not left and not parts:
        shell.fail(f"there is no job {id}, neither in the queue nor in the accounting database")
    states = by_state(left, parts)
    if (lost := total - sum(states.values())) > 0:
        states["UNKNOWN"] = lost
    failed = [part for part in parts if part["state"] != "COMPLETED"]
    codes = [part["exit_code"] for part in parts if part["exit_code"] is not None]
    signals = [part["signal"] for part in parts if part["signal"] is not None]
    return Ending(
        id=id,
        ended=not left,
        succeeded=set(states) == {"COMPLETED"},
        state=_state(states),
        states=states,
        reason=next((job["reason"] for job in left if job["reason"]), None),
        exit_code=max(codes, default=None) if not left else None,
        signal=max(signals, default=None) if not left else None,
        failed=failed[:LISTED],
    )


def _state(states: dict[str, int]) -> str:
    """One word for all of it; what goes on stands first."""
    if "RUNNING" in states:
        return "RUNNING"
    return next((state for state in states if state != "COMPLETED"), "COMPLETED")
