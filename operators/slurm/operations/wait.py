"""Wait until jobs have ended, whole arrays or many jobs at once, and return how."""

import time
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.client import on_cluster
from operators.slurm.job_types import JobIds, JobIdText, SlurmCluster
from operators.slurm.jobs.job_outcome import (
    JobPart,
    KnownJob,
    count_by_state,
    count_tasks,
    ended_parts,
    unfinished,
)
from operators.slurm.listings import repeatable_separators
from operators.slurm.operations.job import is_part
from operators.slurm.parsing import JobId
from operators.slurm.waiting.wait_state import WaitState
from resop import InvalidOptions, JobNotFound, Shell, operation

MAX_TIMEOUT = 86_400
MAX_FAILED_PARTS = 1000


class JobOutcome(TypedDict):
    """How a job ended, or its state when the wait was over."""

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


class JobOutcomes(TypedDict):
    """How several jobs ended, or their states when the wait was over."""

    ended: bool
    """True if all jobs have ended."""
    succeeded: bool
    states: dict[str, int]
    """The number of jobs, tasks or components by state, of all jobs together."""
    jobs: list[JobOutcome]
    """Each job, in the order of the request."""


@operation(
    timeout=MAX_TIMEOUT + 120,
    resumable=True,
    examples=[
        {"id": "4242"},
        {"ids": ["4242", "4300", "4301_7"], "timeout": 600},
        {"ids": ["4242", "4300"], "until": "any"},
    ],
)
def wait(
    shell: Shell,
    id: JobIdText | None = None,
    ids: Annotated[
        JobIds | None, Field(description="instead of id: several jobs, arrays and array tasks")
    ] = None,
    until: Annotated[
        Literal["all", "any"],
        Field(description="wait until all jobs have ended, or until any of them has"),
    ] = "all",
    timeout: Annotated[
        float,
        Field(
            ge=0,
            le=MAX_TIMEOUT,
            description="stop waiting after this many seconds and return the state at that time",
        ),
    ] = 3600,
    cluster: SlurmCluster = None,
) -> JobOutcome | JobOutcomes:
    """Return how the job ended; `ended` is false if the timeout expired first.

    It is also false, at once, for a job that never starts unless somebody acts; `reason` says why:
    DependencyNeverSatisfied, PartitionTimeLimit, …. With `ids`, the answer has all jobs in `jobs`.

    The queue is read at growing intervals of up to 15 s; a job that has left the queue is looked up
    in the accounting database. JobNotFound, at once: neither has one of the jobs. The operation
    keeps waiting when Slurm becomes unavailable in between. A wait occupies one of a worker's
    slots. With `Prefer: respond-async` it survives its worker, and a request that is repeated with
    the same `Idempotency-Key` joins it.
    """
    if (id is None) == (ids is None):
        raise InvalidOptions.of("ids", "give either id or ids")
    names = list(dict.fromkeys([id] if id is not None else ids or []))
    began = time.monotonic()
    with on_cluster(cluster), repeatable_separators(f"{names} {cluster}"):
        state = WaitState(shell, [JobId.parse(name) for name in names])
        if state.unknown:
            raise no_such_jobs([names[position] for position in state.unknown])
        while not state.is_over(until) and state.time_left(timeout, began) > 0:
            state.look(timeout)
        outcomes = _outcomes(shell, names, state)
    if ids is None:
        return outcomes[0]
    states: dict[str, int] = {}
    for outcome in outcomes:
        for name, count in outcome["states"].items():
            states[name] = states.get(name, 0) + count
    return JobOutcomes(
        ended=all(outcome["ended"] for outcome in outcomes),
        succeeded=all(outcome["succeeded"] for outcome in outcomes),
        states=states,
        jobs=outcomes,
    )


def no_such_jobs(names: Sequence[str]) -> JobNotFound:
    """Return the error for jobs that Slurm does not know."""
    which = f"no job {names[0]}" if len(names) == 1 else f"no jobs {', '.join(names[:20])}"
    message = f"there is {which}, neither in the queue nor in the accounting database"
    return JobNotFound(message, id=names[0], ids=[*names])


def _outcomes(shell: Shell, names: Sequence[str], state: WaitState) -> list[JobOutcome]:
    known = [_known(job) for job in state.jobs]
    asked = [job for job in known if job is not None]
    parts = iter(ended_parts(shell, asked))
    outcomes, missing = [], []
    for name, job, wanted in zip(names, state.jobs, known, strict=True):
        ended = next(parts) if wanted is not None else []
        if not unfinished(job.queue) and not ended:
            missing.append(name)
        else:
            outcomes.append(_outcome(name, job, ended))
    if missing:
        raise no_such_jobs(missing)
    return outcomes


def _known(job: KnownJob) -> KnownJob | None:
    """Return the job with the number of parts that have ended; None if none can have."""
    remaining = unfinished(job.queue)
    if not remaining:
        return job
    if job.target.task is None and any(is_part(entry) for entry in job.queue):
        return job._replace(total=job.total - count_tasks(remaining))
    return None


def _outcome(name: str, job: KnownJob, parts: list[JobPart]) -> JobOutcome:
    remaining = unfinished(job.queue)
    states = count_by_state(remaining, parts)
    if (unknown := job.total - sum(states.values())) > 0:
        states["UNKNOWN"] = unknown
    failed = [part for part in parts if part["state"] != "COMPLETED"]
    codes = [part["exit_code"] for part in parts if part["exit_code"] is not None]
    signals = [part["signal"] for part in parts if part["signal"] is not None]
    reasons = [*(entry["reason"] for entry in remaining), *(part["reason"] for part in failed)]
    return JobOutcome(
        id=name,
        ended=not remaining,
        succeeded=set(states) == {"COMPLETED"},
        state=_overall_state(states),
        states=states,
        reason=next((reason for reason in reasons if reason), None),
        exit_code=max(codes, default=None) if not remaining else None,
        signal=max(signals, default=None) if not remaining else None,
        failed=failed[:MAX_FAILED_PARTS],
    )


def _overall_state(states: dict[str, int]) -> str:
    """Return one state for the whole job; an unfinished part's state takes precedence."""
    if "RUNNING" in states:
        return "RUNNING"
    return next((state for state in states if state != "COMPLETED"), "COMPLETED")
