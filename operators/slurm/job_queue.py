"""The queue: what slurmctld knows of jobs, from submission until some time after their end.

That time is MinJobAge: five minutes unless the site says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from typing_extensions import TypedDict

from operators.slurm import listings, parsing
from operators.slurm.client import ask
from operators.slurm.job_types import NOT_ENDED, Job, Seconds, Time, is_asked
from operators.slurm.parsing import JobId
from resop import CommandFailed, Shell

_COLUMNS = {
    "id": "i",
    "raw_id": "A",
    "name": "j",
    "user": "u",
    "account": "a",
    "partition": "P",
    "qos": "q",
    "state": "T",
    "reason": "r",
    "nodes": "D",
    "node_names": "N",
    "cpus": "C",
    "submitted": "V",
    "start": "S",
    "end": "e",
    "elapsed": "M",
    "time_limit": "l",
    "time_left": "L",
    "work_dir": "Z",
    "dependency": "E",
    "priority": "Q",
    "gres": "b",
    "features": "f",
    "script": "o",
    "comment": "k",
}
# Each on a line of its own in what scontrol shows; the last counts, as a name may hold newlines.
_PATHS = re.compile(r"^   (StdErr|StdOut|AllocTRES|ReqTRES|TRES)=(.*)$", re.MULTILINE)
_RECORD = re.compile(r"^(?=JobId=(\d+) )", re.MULTILINE)
_ENDED_WITH = re.compile(r"^   Requeue=.* Restarts=(\d+) .*ExitCode=(\d+:\d+)$", re.MULTILINE)


class QueuedJob(Job):
    """A job in the queue."""

    expected_start: Time | None
    """When it is to begin, where the scheduler has planned that already."""
    expected_end: Time | None
    """When its time is over."""
    time_left: Seconds | None
    dependency: str | None
    """What it waits for: afterok:20(unfulfilled)."""
    priority: int | None
    gres: str | None
    """What each node is to have: gres:gpu:a100:1."""
    features: str | None
    script: str | None
    """Path of the batch script; none for one that was sent as text."""
    comment: str | None


class Details(TypedDict):
    """What the queue tells of one job alone."""

    stdout: str | None
    """Path of the file for standard output."""
    stderr: str | None
    exit_code: int | None
    signal: int | None
    resources: dict[str, int]
    """What it has, or asks for: counts, memory in bytes."""
    restarts: int | None


def queued(shell: Shell, *filters: str, ids: Sequence[JobId] = ()) -> list[QueuedJob]:
    """Jobs in the queue that fit squeue's filters, by id; of `ids` alone, where there are some."""
    if ids:
        # By the numbers alone: squeue does not find the component of a job by 123+1.
        filters = (*filters, f"--jobs={','.join(sorted({str(each.job) for each in ids}))}")
    try:
        jobs = [_job(row) for row in listings.squeue(shell, _COLUMNS, *filters)]
    except CommandFailed as fault:
        if ids and "Invalid job id" in fault.message:
            return []
        raise
    if ids:
        jobs = [job for job in jobs if any(is_asked(job, each) for each in ids)]
    return sorted(jobs, key=lambda job: (job["job"], job["task"] or 0, job["component"] or 0))


def details(shell: Shell, id: str, *, has_ended: bool) -> Details | None:
    """What the queue tells of one job alone; None when it has left in the meantime."""
    answer = ask(shell, "scontrol", "show", "job", id, check=False)
    if answer.exit_code != 0:
        return None
    told = dict(_PATHS.findall(answer.stdout))
    wanted = told.get("ReqTRES") or told.get("TRES", "")  # 22.05 has one for both
    restarts, ended_with = (_ENDED_WITH.findall(answer.stdout) or [("", "")])[-1]
    code, signal = (parsing.exit_code(ended_with) if has_ended else None) or (None, None)
    return Details(
        stdout=parsing.given(told.get("StdOut", "")),
        stderr=parsing.given(told.get("StdErr", "")),
        exit_code=code,
        signal=signal,
        resources=parsing.tres(told.get("AllocTRES", "")) or parsing.tres(wanted),
        restarts=parsing.whole(restarts),
    )


def exit_codes(shell: Shell, job: int) -> dict[int, tuple[int, int]]:
    """Exit code and signal of each part of a job that the queue still has, by `raw_id`."""
    answer = ask(shell, "scontrol", "show", "job", str(job), check=False)
    _, *told = _RECORD.split(answer.stdout)
    codes = {}
    for raw_id, record in zip(told[::2], told[1::2], strict=True):
        _, ended_with = (_ENDED_WITH.findall(record) or [("", "")])[-1]
        if code := parsing.exit_code(ended_with):
            codes[int(raw_id)] = code
    return codes


def _job(row: listings.Row) -> QueuedJob:
    job = JobId.parse(row["id"])
    state, start, end = row["state"], parsing.time(row["start"]), parsing.time(row["end"])
    waits, has_ended = state == "PENDING", state not in NOT_ENDED
    return QueuedJob(
        id=row["id"],
        job=job.job,
        raw_id=int(row["raw_id"]),
        task=job.task,
        tasks=job.tasks,
        component=job.component,
        name=row["name"],
        user=row["user"],
        account=parsing.given(row["account"]),
        partition=row["partition"],
        qos=parsing.given(row["qos"]),
        state=state,
        reason=parsing.given(row["reason"]),
        nodes=parsing.whole(row["nodes"]) or 0,
        node_names=parsing.hostlist(row["node_names"]),
        cpus=parsing.whole(row["cpus"]) or 0,
        submitted=parsing.time(row["submitted"]),
        started=None if waits else start,
        ended=end if has_ended else None,
        elapsed=parsing.duration(row["elapsed"]) or 0,
        time_limit=parsing.duration(row["time_limit"]),
        work_dir=parsing.given(row["work_dir"]),
        expected_start=start if waits else None,
        expected_end=None if has_ended else end,
        time_left=None if has_ended else parsing.duration(row["time_left"]),
        dependency=parsing.given(row["dependency"]),
        priority=parsing.whole(row["priority"]),
        gres=parsing.given(row["gres"]),
        features=parsing.given(row["features"]),
        script=parsing.given(row["script"]),
        comment=parsing.given(row["comment"]),
    )
