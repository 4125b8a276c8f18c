"""One job, wherever it is: in the queue, or, when it has left that, in the accounting database."""

import time
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from operators.slurm import job_queue
from operators.slurm.accounting import PastJob, Step, find
from operators.slurm.job_queue import QueuedJob
from operators.slurm.job_types import NOT_ENDED, Bytes, Job, OneJob, Seconds, Time
from operators.slurm.parsing import JobId, indexes
from resop import Shell, operation

PAUSES = (0.3, 0.7, 2.0)
"""Seconds between looks: slurmdbd is 0.3 s behind slurmctld, 2.5 s for the first job ever."""


class FoundJob(BaseModel):
    """A job; an array, or a heterogeneous job, is told as a whole and by its parts."""

    id: str
    name: str
    user: str
    account: str | None
    partition: str
    qos: str | None
    state: str
    """RUNNING if some of it runs, COMPLETED if all of it is."""
    states: dict[str, int]
    """How many jobs, tasks or components are in which state."""
    reason: str | None
    source: Literal["queue", "accounting"]
    nodes: int
    node_names: list[str]
    cpus: int
    submitted: Time | None
    started: Time | None
    ended: Time | None
    elapsed: Seconds
    time_limit: Seconds | None
    time_left: Seconds | None = None
    expected_start: Time | None = None
    dependency: str | None = None
    priority: int | None = None
    comment: str | None = None
    restarts: int | None = None
    resources: dict[str, int] = {}
    """What it has, or asks for: counts, memory in bytes."""
    work_dir: str | None
    script: str | None = None
    """Path of the batch script, if it was not sent as text; known while it is in the queue."""
    stdout: str | None = None
    """Path of the file for standard output; known while it is in the queue."""
    stderr: str | None = None
    submit_line: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    max_rss: Bytes | None = None
    """The most memory that one task of a step had; known when the steps are."""
    steps: list[Step] | None = None
    """None if the accounting database was not asked, or does not have the job yet."""
    parts: list[Job] = []
    """The tasks of an array (those that wait are one), the components of a heterogeneous job."""


@operation(share_for=2, examples=[{"id": "4242"}, {"id": "4243_7", "steps": True}])
def job(
    shell: Shell,
    id: Annotated[
        OneJob, Field(description="123, a task of an array (123_4), or a component (123+1)")
    ],
    steps: Annotated[
        bool, Field(description="its steps and the memory they used, while it is in the queue, too")
    ] = False,
) -> FoundJob:
    """Return the job.

    The accounting database is some seconds behind: what is not there is looked for again for a
    while. The operation fails for a job that never was, or that the database no longer has.
    """
    wanted = JobId.parse(id)
    queued = job_queue.queued(shell, "--states=all", ids=[wanted])
    by_number = wanted.task is None and wanted.component is None
    is_whole = by_number and any(each["job"] == wanted.job and is_part(each) for each in queued)
    past: list[PastJob] = []
    if steps or is_whole or not queued:
        past = _accounted(shell, wanted, again=not is_whole)
    parts = _merged(queued, past)
    if not parts:
        shell.fail(f"there is no job {id}, neither in the queue nor in the accounting database")
    whole = is_whole or len(parts) > 1
    found: dict[str, Any] = {**(_whole(wanted.job, parts) if whole else parts[0])}
    found["source"] = "queue" if queued else "accounting"
    found["states"] = Counter(state for each in parts for state in _states(each, wanted))
    found["max_rss"] = max((each["max_rss"] or 0 for each in past), default=0) or None
    if whole:
        return FoundJob(**found, parts=parts)
    if past:
        found["steps"] = past[0]["steps"]
        found["resources"] = past[0]["allocated"] or past[0]["requested"]
    if wanted.task is not None:  # it may be one of those that wait
        found["id"] = id
    if queued:
        has_ended = found["state"] not in NOT_ENDED
        found |= job_queue.details(shell, found["id"], has_ended=has_ended) or {}
    return FoundJob(**found)


def is_part(job: Job) -> bool:
    """Whether it is a part of an array or of a heterogeneous job."""
    return any(job[key] is not None for key in ("task", "tasks", "component"))


def _accounted(shell: Shell, wanted: JobId, *, again: bool) -> list[PastJob]:
    """What the accounting database has of a job; looked for `again` while there is nothing."""
    found = find(shell, wanted)
    for pause in PAUSES if again else ():
        if found:
            break
        time.sleep(pause)
        found = find(shell, wanted)
    return found


def _merged(queued: list[QueuedJob], past: list[PastJob]) -> list[Job]:
    """The parts of a job: as they are in the queue, and those that have left it."""
    known = {each["id"] for each in queued}
    # Which tasks of an array still wait, the queue alone knows.
    is_stale = bool(queued) or any(each["tasks"] is None for each in past)
    # The accounting database may have heard of the parts before it has heard that they are parts.
    has_parts = any(is_part(each) for each in queued)
    left = [
        each
        for each in past
        if each["id"] not in known
        and not (each["tasks"] and is_stale)
        and (is_part(each) or not has_parts)
    ]
    return [*queued, *left]


def _states(job: Job, wanted: JobId) -> list[str]:
    """The state of a part, once for each of the tasks that it stands for."""
    waiting = indexes(job["tasks"]) if job["tasks"] and wanted.task is None else [0]
    return [job["state"]] * len(waiting)


def _whole(number: int, parts: list[Job]) -> dict[str, Any]:
    """An array or a heterogeneous job, put together from its parts."""
    going_on = [each["state"] for each in parts if each["state"] in NOT_ENDED]
    failed = [each["state"] for each in parts if each["state"] != "COMPLETED"]
    best = "RUNNING" if "RUNNING" in going_on else [*going_on, *failed, "COMPLETED"][0]
    nodes = sorted({name for each in parts for name in each["node_names"]})
    ends = [each["ended"] for each in parts]
    return {
        **parts[0],
        "id": str(number),
        "state": best,
        "reason": next((each["reason"] for each in parts if each["reason"]), None),
        "nodes": len(nodes),
        "node_names": nodes,
        "cpus": sum(each["cpus"] for each in parts),
        "started": min((each["started"] for each in parts if each["started"]), default=None),
        "ended": None if None in ends else max(end for end in ends if end),
        "elapsed": max(each["elapsed"] for each in parts),
    }
