"""The accounting database: what slurmdbd knows of jobs, some seconds after slurmctld does.

It keeps a job's name with a backtick for each double quote.
"""

from __future__ import annotations

import re

from typing_extensions import TypedDict

from operators.slurm import listings, parsing
from operators.slurm.job_types import Bytes, Job, Seconds, Time, is_asked
from operators.slurm.parsing import JobId
from resop import Shell

_COLUMNS = {
    "id": "JobID",
    "raw_id": "JobIDRaw",
    "name": "JobName",
    "user": "User",
    "account": "Account",
    "partition": "Partition",
    "qos": "QOS",
    "state": "State",
    "reason": "Reason",
    "nodes": "NNodes",
    "node_names": "NodeList",
    "cpus": "NCPUS",
    "submitted": "Submit",
    "started": "Start",
    "ended": "End",
    "elapsed": "ElapsedRaw",
    "time_limit": "Timelimit",
    "work_dir": "WorkDir",
    "exit_code": "ExitCode",
    "requested": "ReqTRES",
    "allocated": "AllocTRES",
    "cpu_seconds": "TotalCPU",
    "max_rss": "MaxRSS",
    "tasks": "NTasks",
    "submit_line": "SubmitLine",
}


class Step(TypedDict):
    """A step of a job: `batch`, `extern`, `interactive`, or one of srun: `0`, `1`, …"""

    id: str
    name: str
    state: str
    exit_code: int | None
    signal: int | None
    nodes: int
    node_names: list[str]
    tasks: int | None
    cpus: int
    started: Time | None
    ended: Time | None
    elapsed: Seconds
    cpu_seconds: Seconds | None
    max_rss: Bytes | None
    """The most memory that one of its tasks had; known when it has ended."""


class PastJob(Job):
    """A job in the accounting database."""

    cancelled_by: str | None
    """The number of the user who cancelled it."""
    exit_code: int | None
    signal: int | None
    requested: dict[str, int]
    allocated: dict[str, int]
    """Resources: counts, memory in bytes."""
    cpu_seconds: Seconds | None
    max_rss: Bytes | None
    """The most of its steps."""
    submit_line: str | None
    steps: list[Step]


def accounted(shell: Shell, *filters: str) -> list[PastJob]:
    """Jobs in the accounting database that fit sacct's filters, those submitted last first."""
    jobs: list[PastJob] = []
    for row in listings.sacct(shell, _COLUMNS, *filters):
        if JobId.parse(row["id"]).step is None:
            jobs.append(_job(row))
        elif jobs:  # a step stands behind its job
            jobs[-1]["steps"].append(_step(row))
    for job in jobs:
        job["max_rss"] = max((step["max_rss"] or 0 for step in job["steps"]), default=0) or None
    return sorted(jobs, key=lambda job: (job["submitted"] or "", job["raw_id"]), reverse=True)


def find(shell: Shell, wanted: JobId) -> list[PastJob]:
    """The job in the accounting database, with all its parts and their steps, by id."""
    jobs = accounted(shell, f"--jobs={wanted.job}")
    return [job for job in reversed(jobs) if is_asked(job, wanted)]


def _job(row: listings.Row) -> PastJob:
    job = JobId.parse(row["id"])
    code, signal = parsing.exit_code(row["exit_code"]) or (None, None)
    state, by = _state(row["state"])
    nodes, ended = parsing.hostlist(row["node_names"]), parsing.time(row["ended"])
    # One that was cancelled while it waited has its end for a start.
    started = parsing.time(row["started"]) if nodes else None
    return PastJob(
        id=row["id"],
        job=job.job,
        raw_id=int(re.split(r"\D", row["raw_id"])[0]),
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
        node_names=nodes,
        cpus=parsing.whole(row["cpus"]) or 0,
        submitted=parsing.time(row["submitted"]),
        started=started,
        ended=ended,
        elapsed=parsing.whole(row["elapsed"]) or 0,
        time_limit=parsing.duration(row["time_limit"]),
        work_dir=parsing.given(row["work_dir"]),
        cancelled_by=by,
        exit_code=code if ended else None,
        signal=signal if ended else None,
        requested=parsing.tres(row["requested"]),
        allocated=parsing.tres(row["allocated"]),
        cpu_seconds=parsing.duration(row["cpu_seconds"]),
        max_rss=None,
        submit_line=parsing.given(row["submit_line"]),
        steps=[],
    )


def _step(row: listings.Row) -> Step:
    code, signal = parsing.exit_code(row["exit_code"]) or (None, None)
    ended = parsing.time(row["ended"])
    return Step(
        id=JobId.parse(row["id"]).step or "",
        name=row["name"],
        state=_state(row["state"])[0],
        exit_code=code if ended else None,
        signal=signal if ended else None,
        nodes=parsing.whole(row["nodes"]) or 0,
        node_names=parsing.hostlist(row["node_names"]),
        tasks=parsing.whole(row["tasks"]),
        cpus=parsing.whole(row["cpus"]) or 0,
        started=parsing.time(row["started"]),
        ended=ended,
        elapsed=parsing.whole(row["elapsed"]) or 0,
        cpu_seconds=parsing.duration(row["cpu_seconds"]),
        max_rss=parsing.memory(row["max_rss"], "B"),
    )


def _state(text: str) -> tuple[str, str | None]:
    """`CANCELLED by 20001` as the state and who did it."""
    state, _, by = text.partition(" by ")
    return state, by or None
