"""Wait until a job, or all of an array, has ended, and return how."""

import time
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.accounting import find
from operators.slurm.client import on_cluster
from operators.slurm.job_outcome import (
    JobPart,
    count_by_state,
    count_tasks,
    ended_parts,
    select,
    unfinished,
)
from operators.slurm.job_queue import QueuedJob, list_jobs
from operators.slurm.job_reasons import NEVER_STARTS
from operators.slurm.job_types import Job, JobIdText, SlurmCluster
from operators.slurm.operations.job import is_part, no_such_job
from operators.slurm.parsing import JobId
from resop import DaemonUnavailable, Shell, operation

MAX_TIMEOUT = 86_400
FIRST_DELAY = 0.5
MAX_DELAY = 15.0
MAX_FAILED_PARTS = 1000


class JobOutcome(TypedDict):
    """How a job ended, or its state when the timeout expired."""

    id: str
    ended: bool
    succeeded: bool
    """True if all parts are COMPLETED."""
    state: str
    """RUNNING if any part is, COMPLETED if all parts are."""
    states: dict[str, int]
    """The number of jobs, tasks or components by state.

    UNKNOWN counts array tasks that were cancelled one by one before they started: Slurm keeps no
    record of them.
    """
    reason: str | None
    """Why the job is still pending, or why the first part that failed did."""
    exit_code: int | None
    """The highest exit code of all parts; None while the job continues, or if none is known."""
    signal: int | None
    failed: list[JobPart]
    """The parts that ended but are not COMPLETED, up to 1000."""


@operation(timeout=MAX_TIMEOUT + 120, examples=[{"id": "4242"}, {"id": "4243", "timeout": 600}])
def wait(
    shell: Shell,
    id: JobIdText,
    timeout: Annotated[
        float,
        Field(
            ge=0,
            le=MAX_TIMEOUT,
            description="stop waiting after this many seconds and return the state at that time",
        ),
    ] = 3600,
    cluster: SlurmCluster = None,
) -> JobOutcome:
    """Return how the job ended; `ended` is false if the timeout expired first.

    It is also false, at once, if the job can never start: DependencyNeverSatisfied.

    The queue is polled at growing intervals of up to 15 s; a job that has left the queue is looked
    up in the accounting database. JobNotFound: neither has the job. The operation keeps waiting
    when Slurm becomes unavailable in between. A wait occupies one of a worker's slots.
    """
    deadline = time.monotonic() + timeout
    target = JobId.parse(id)
    with on_cluster(cluster):
        jobs, total = _find(shell, target), 0
        for delay in _delays():
            remaining, total = unfinished(jobs), max(total, count_tasks(jobs))
            shell.progress(total - count_tasks(remaining), max(total, 1))
            time_left = deadline - time.monotonic()
            if _never_ends(remaining) or time_left <= 0:
                break
            time.sleep(min(delay, time_left))
            jobs = _poll(shell, target, jobs, deadline)
        return _outcome(shell, target, id, jobs, total)


def _find(shell: Shell, target: JobId) -> list[Job]:
    """Return the job's parts in the queue, or parts that only the database has as unfinished."""
    queued = _find_in_queue(shell, target)
    return [*queued] or _unfinished_in_database(shell, target)


def _find_in_queue(shell: Shell, target: JobId) -> list[QueuedJob]:
    return select(list_jobs(shell, "--states=all", ids=[target]), target)


def _unfinished_in_database(shell: Shell, target: JobId) -> list[Job]:
    # Only the queue knows which tasks of an array are still pending.
    past = unfinished(select(find(shell, target), target))
    return [job for job in past if job["tasks"] is None]


def _never_ends(remaining: list[Job]) -> bool:
    """Return True if nothing is left to wait for."""
    return all(job["reason"] in NEVER_STARTS for job in remaining)


def _delays() -> Iterator[float]:
    delay = FIRST_DELAY
    while True:
        yield delay
        delay = min(delay * 1.5, MAX_DELAY)


def _poll(shell: Shell, target: JobId, before: list[Job], deadline: float) -> list[Job]:
    """Return the job's parts in the queue, and ended parts that have left it."""
    try:
        now: list[Job] = [*_find_in_queue(shell, target)]
    except DaemonUnavailable as fault:
        if time.monotonic() >= deadline:
            raise
        shell.log(f"still waiting: {fault.message}")
        return before
    ids = {job["id"] for job in now}
    gone = [job for job in before if job["id"] not in ids]
    known = [*now, *(job for job in gone if not unfinished([job]))]
    return known or _unfinished_in_database(shell, target)


def _outcome(shell: Shell, target: JobId, id: str, jobs: list[Job], total: int) -> JobOutcome:
    remaining = unfinished(jobs)
    parts: list[JobPart] = []
    if not remaining:
        parts = ended_parts(shell, target, jobs, total)
    elif target.task is None and any(is_part(job) for job in jobs):
        parts = ended_parts(shell, target, jobs, total - count_tasks(remaining))
    if not remaining and not parts:
        raise no_such_job(id)
    states = count_by_state(remaining, parts)
    if (unknown := total - sum(states.values())) > 0:
        states["UNKNOWN"] = unknown
    failed = [part for part in parts if part["state"] != "COMPLETED"]
    codes = [part["exit_code"] for part in parts if part["exit_code"] is not None]
    signals = [part["signal"] for part in parts if part["signal"] is not None]
    return JobOutcome(
        id=id,
        ended=not remaining,
        succeeded=set(states) == {"COMPLETED"},
        state=_overall_state(states),
        states=states,
        reason=next((each["reason"] for each in (*remaining, *failed) if each["reason"]), None),
        exit_code=max(codes, default=None) if not remaining else None,
        signal=max(signals, default=None) if not remaining else None,
        failed=failed[:MAX_FAILED_PARTS],
    )


def _overall_state(states: dict[str, int]) -> str:
    """Return one state for the whole job; an unfinished part's state takes precedence."""
    if "RUNNING" in states:
        return "RUNNING"
    return next((state for state in states if state != "COMPLETED"), "COMPLETED")
