"""Read jobs from the accounting database, which is a few seconds behind the queue.

It stores a backtick for each double quote in a job's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from typing_extensions import TypedDict

from operators.slurm import listings, parsing
from operators.slurm.job_types import (
    UNFINISHED_STATES,
    Bytes,
    Job,
    JobEntry,
    Seconds,
    Timestamp,
    matches_id,
)
from operators.slurm.parsing import JobId
from operators.slurm.reasons.job_reasons import reason_of_end
from operators.slurm.resources.gpu_requests import gpus_of_line, with_gpus
from operators.slurm.scripts.batch_script import is_heterogeneous
from operators.slurm.scripts.job_script import stored_script
from operators.slurm.submission.own_submissions import find_submission
from resop import Shell

ACCOUNTING_DELAYS = (0.3, 0.7, 2.0)
"""Seconds to wait before asking for a missing job again.

slurmdbd is 0.3 s behind slurmctld, and 2.5 s for a cluster's first job.
"""

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


_COMPONENTS = " : "
"""The separator of the options of a heterogeneous job's components in a submission line."""


class JobStep(TypedDict):
    """A step of a job: `batch`, `extern`, `interactive`, or started by srun: `0`, `1`, …"""

    id: str
    name: str
    state: str
    exit_code: int | None
    signal: int | None
    nodes: int
    node_names: list[str]
    tasks: int | None
    cpus: int
    started: Timestamp | None
    ended: Timestamp | None
    elapsed: Seconds
    cpu_seconds: Seconds | None
    max_rss: Bytes | None
    """The highest memory use of any of its tasks; known when the step has ended."""


class PastJob(Job):
    """A job in the accounting database."""

    cancelled_by: str | None
    """The UID of the user who cancelled the job."""
    exit_code: int | None
    signal: int | None
    requested: dict[str, int]
    allocated: dict[str, int]
    """Resources by name: counts; memory in bytes.

    GPUs that the site's accounting does not track are as the submission line asks for them.
    """
    cpu_seconds: Seconds | None
    max_rss: Bytes | None
    """The highest memory use of any task of any step."""
    submit_line: str | None
    steps: list[JobStep]


def list_past_jobs(shell: Shell, *filters: str) -> list[PastJob]:
    """Return the jobs that match sacct's filters, the last submitted first."""
    jobs: list[PastJob] = []
    for row in listings.sacct(shell, _COLUMNS, *filters):
        if JobId.parse(row["id"]).step is None:
            jobs.append(_job(row))
        elif jobs:  # a step follows its job
            jobs[-1]["steps"].append(_step(row))
    for job in jobs:
        job["max_rss"] = max((step["max_rss"] or 0 for step in job["steps"]), default=0) or None
    return sorted(jobs, key=lambda job: (job["submitted"] or "", job["raw_id"]), reverse=True)


def find(shell: Shell, target: JobId) -> list[PastJob]:
    """Return a job with all its parts and their steps, ordered by id."""
    jobs = list_past_jobs(shell, f"--jobs={target.job}")
    found = [job for job in reversed(jobs) if matches_id(job, target)]
    is_alone = [job["id"] for job in jobs] == [str(target.job)]
    if not found and target.component is not None and is_alone:
        return _find_component(shell, jobs[0], target.component)
    return found


def _find_component(shell: Shell, first: PastJob, component: int) -> list[PastJob]:
    """Return a component of a heterogeneous job that has not started.

    Slurm 24.11 stores it as a job of its own, which has the number after the one before it.
    """
    if not _has_components(shell, first):
        return []
    number = first["raw_id"] + component
    return [
        {**job, "id": f"{first['id']}+{component}", "job": first["job"], "component": component}
        for job in list_past_jobs(shell, f"--jobs={number}")
        if job["id"] == str(number) and _submission(job) == _submission(first)
    ]


def _has_components(shell: Shell, job: PastJob) -> bool:
    """Return True if its submission line or its script makes a job a heterogeneous one."""
    if _COMPONENTS in (job["submit_line"] or ""):
        return True
    own = find_submission(shell, JobId(job["job"]), job["submitted"])
    script = own.script if own is not None else stored_script(shell, job["job"])
    return is_heterogeneous(script or "")


def _submission(job: PastJob) -> tuple[str, str | None, str | None]:
    return job["user"], job["submitted"], job["submit_line"]


def drop_reused(past: Iterable[PastJob], queued: Iterable[JobEntry]) -> list[PastJob]:
    """Return the jobs without earlier ones that had the number of a job in the queue.

    Job numbers begin again after MaxJobId, and where a site resets Slurm's state.
    """
    submitted = {job["id"]: job["submitted"] or "" for job in queued}
    return [job for job in past if (job["submitted"] or "") >= submitted.get(job["id"], "")]


def _job(row: listings.TableRow) -> PastJob:
    job = JobId.parse(row["id"])
    code, signal = parsing.parse_exit_code(row["exit_code"]) or (None, None)
    state, cancelled_by = _parse_state(row["state"])
    nodes, ended = parsing.expand_nodes(row["node_names"]), parsing.parse_time(row["ended"])
    # For a job that was cancelled while pending, the database has its end as its start.
    started = parsing.parse_time(row["started"]) if nodes else None
    count = parsing.parse_int(row["nodes"]) or 0
    gpus = gpus_of_line(row["submit_line"], row["name"], count)
    return PastJob(
        id=row["id"],
        job=job.job,
        raw_id=int(re.split(r"\D", row["raw_id"])[0]),
        task=job.task,
        tasks=job.tasks,
        component=job.component,
        name=row["name"],
        user=row["user"],
        account=parsing.parse_text(row["account"]),
        partition=row["partition"],
        qos=parsing.parse_text(row["qos"]),
        state=state,
        reason=_reason(state, code, signal, row["reason"], has_started=bool(nodes)),
        nodes=count,
        node_names=nodes,
        cpus=parsing.parse_int(row["cpus"]) or 0,
        submitted=parsing.parse_time(row["submitted"]),
        started=started,
        ended=ended,
        elapsed=parsing.parse_int(row["elapsed"]) or 0,
        time_limit=parsing.parse_time_limit(row["time_limit"]),
        work_dir=parsing.parse_text(row["work_dir"]),
        cancelled_by=cancelled_by,
        exit_code=code if ended else None,
        signal=signal if ended else None,
        requested=with_gpus(parsing.parse_tres(row["requested"]), gpus),
        allocated=with_gpus(parsing.parse_tres(row["allocated"]), gpus if nodes else None),
        cpu_seconds=parsing.parse_duration(row["cpu_seconds"]),
        max_rss=None,
        submit_line=parsing.parse_text(row["submit_line"]),
        steps=[],
    )


def _reason(
    state: str, code: int | None, signal: int | None, said: str, *, has_started: bool
) -> str | None:
    """Return why a job is, or was, pending; or why it failed after it had started."""
    if state == "PENDING" or not has_started:
        return parsing.parse_text(said)
    if state in UNFINISHED_STATES:
        return None
    return reason_of_end(state, code, signal, parsing.parse_text(said))


def _step(row: listings.TableRow) -> JobStep:
    code, signal = parsing.parse_exit_code(row["exit_code"]) or (None, None)
    ended = parsing.parse_time(row["ended"])
    return JobStep(
        id=JobId.parse(row["id"]).step or "",
        name=row["name"],
        state=_parse_state(row["state"])[0],
        exit_code=code if ended else None,
        signal=signal if ended else None,
        nodes=parsing.parse_int(row["nodes"]) or 0,
        node_names=parsing.expand_nodes(row["node_names"]),
        tasks=parsing.parse_int(row["tasks"]),
        cpus=parsing.parse_int(row["cpus"]) or 0,
        started=parsing.parse_time(row["started"]),
        ended=ended,
        elapsed=parsing.parse_int(row["elapsed"]) or 0,
        cpu_seconds=parsing.parse_duration(row["cpu_seconds"]),
        max_rss=parsing.parse_size(row["max_rss"], "B"),
    )


def _parse_state(text: str) -> tuple[str, str | None]:
    """Split `CANCELLED by 20001` into the state and the UID."""
    state, _, uid = text.partition(" by ")
    return state, uid or None
