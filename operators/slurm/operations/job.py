"""Show one job, from the queue or, once it has left that, from the accounting database."""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from operators.slurm.accounting import ACCOUNTING_DELAYS, JobStep, PastJob, drop_reused, find
from operators.slurm.client import on_cluster
from operators.slurm.job_types import (
    UNFINISHED_STATES,
    Bytes,
    Job,
    JobEntry,
    JobIdText,
    Seconds,
    SlurmCluster,
    TimeLimitSeconds,
    Timestamp,
)
from operators.slurm.jobs import job_queue
from operators.slurm.jobs import live_usage as live
from operators.slurm.jobs.array_tasks import list_task_jobs
from operators.slurm.jobs.attempts import Attempt, read_attempts
from operators.slurm.jobs.efficiency import Efficiency, read_efficiency
from operators.slurm.jobs.job_queue import QueuedJob
from operators.slurm.parsing import JobId, expand_indexes
from operators.slurm.reasons.job_reasons import reason_of_end
from operators.slurm.scripts.filename_patterns import complete_path
from operators.slurm.scripts.job_script import JobScript, read_script
from resop import CommandFailed, DaemonUnavailable, JobNotFound, Shell, operation


class JobSummary(BaseModel):
    """A job; an array or a heterogeneous job as a whole, with its parts."""

    id: str
    name: str
    user: str
    account: str | None
    partition: str
    qos: str | None
    state: str
    """RUNNING if any part is, COMPLETED if all parts are."""
    states: dict[str, int]
    """The number of jobs, tasks or components by state."""
    reason: str | None
    source: Literal["queue", "accounting"]
    nodes: int
    node_names: list[str]
    cpus: int
    submitted: Timestamp | None
    started: Timestamp | None
    ended: Timestamp | None
    elapsed: Seconds
    time_limit: TimeLimitSeconds | None
    """UNLIMITED if it has none; None if it is not known, or not set yet."""
    time_left: TimeLimitSeconds | None = None
    expected_start: Timestamp | None = None
    dependency: str | None = None
    priority: int | None = None
    comment: str | None = None
    restarts: int | None = None
    resources: dict[str, int] = {}
    """Allocated or requested resources: counts; memory in bytes."""
    work_dir: str | None
    script: str | None = None
    """Path of the batch script, unless it was sent as text; only while the queue has the job."""
    stdout: str | None = None
    """Path of the file for standard output; only while the queue has the job.

    None for the components of a heterogeneous job but the first: the script runs there only.
    """
    stderr: str | None = None
    submit_line: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    max_rss: Bytes | None = None
    """The highest memory use of any task of any step; known with the steps."""
    steps: list[JobStep] | None = None
    """None if the accounting database was not asked or does not have the job yet."""
    parts: list[Job] = []
    """An array's tasks (pending ones share one entry) or a heterogeneous job's components."""


class JobReport(JobSummary):
    """A job with what a request asked for beyond the summary; None for the rest."""

    batch_script: JobScript | None = None
    efficiency: Efficiency | None = None
    live_usage: live.LiveUsage | None = None
    attempts: list[Attempt] | None = None
    """From the first start to the last one."""


@operation(
    share_for=2,
    examples=[
        {"id": "4242"},
        {"id": "4243_7", "steps": True},
        {"id": "4242", "batch_script": True, "efficiency": True, "attempts": True},
    ],
)
def job(
    shell: Shell,
    id: JobIdText,
    steps: Annotated[
        bool,
        Field(description="also return steps and memory use while the job is in the queue"),
    ] = False,
    batch_script: Annotated[bool, Field(description="also return the batch script")] = False,
    efficiency: Annotated[
        bool, Field(description="also compare what the job used with what it got")
    ] = False,
    live_usage: Annotated[
        bool, Field(description="also return what the job uses now, if it runs and is yours")
    ] = False,
    attempts: Annotated[
        bool, Field(description="also return the earlier attempts of a job that was requeued")
    ] = False,
    cluster: SlurmCluster = None,
) -> JobSummary | JobReport:
    """Return the job. JobNotFound: neither the queue nor the accounting database has it.

    The accounting database is a few seconds behind, so it is asked again for the steps of a job
    in the queue. What is asked for beyond the summary says itself why it is missing.
    """
    wanted = {"batch_script": batch_script, "efficiency": efficiency, "attempts": attempts}
    with on_cluster(cluster):
        found, raw_id = _find_job(shell, id, steps=steps)
        if not (live_usage or any(wanted.values())):
            return found
        report = _report(shell, found, id, wanted)
        if live_usage:
            refusal = _live_usage_refusal(shell, found, cluster)
            report.live_usage = (
                live.no_usage(refusal) if refusal else live.read_usage(shell, raw_id)
            )
        return report


def _report(shell: Shell, found: JobSummary, id: str, wanted: Mapping[str, bool]) -> JobReport:
    """Return the job with each part that is wanted, but for what it uses now."""
    report = JobReport(**found.model_dump())
    if wanted["batch_script"]:
        is_queued = found.source == "queue"
        report.batch_script = read_script(shell, JobId.parse(id), is_queued=is_queued)
    if wanted["efficiency"]:
        report.efficiency = read_efficiency(shell, id)
    if wanted["attempts"]:
        report.attempts = _attempts(shell, id)
        report.restarts = _restarts(found, report.attempts or [])
    return report


def _attempts(shell: Shell, id: str) -> list[Attempt] | None:
    """Return the attempts of a job; None, with a line in the log, if Slurm does not answer."""
    try:
        return read_attempts(shell, id)
    except (CommandFailed, DaemonUnavailable) as fault:
        shell.log(f"attempts are unknown: {fault.message}")
        return None


def _restarts(found: JobSummary, attempts: list[Attempt]) -> int | None:
    """Return how often a single job was started again; the accounting database keeps no count."""
    if found.restarts is not None or found.parts or not attempts:
        return found.restarts
    return attempts[-1]["number"] - 1


def _live_usage_refusal(shell: Shell, found: JobSummary, cluster: str | None) -> str | None:
    """Return why sstat cannot be asked about a job; None if it can."""
    if found.state != "RUNNING":
        return live.NOT_RUNNING
    if found.parts:
        return live.SEVERAL
    if cluster is not None:
        return live.OTHER_CLUSTER
    return None if shell.username in (found.user, "root") else live.NOT_YOURS


def no_such_job(id: str) -> JobNotFound:
    """Return the error for a job that Slurm does not know."""
    return JobNotFound(
        f"there is no job {id}, neither in the queue nor in the accounting database", id=id
    )


def _find_job(shell: Shell, id: str, *, steps: bool) -> tuple[JobSummary, int]:
    """Return the job, and Slurm's own number for it or for its first part."""
    target = JobId.parse(id)
    queued = job_queue.list_jobs(shell, "--states=all", ids=[target])
    if target.task is not None and any(each["tasks"] for each in queued):
        # That entry is of all pending tasks, even if they differ.
        queued = list_task_jobs(shell, "--states=all", ids=[target])
    by_number = target.task is None and target.component is None
    is_whole = by_number and any(each["job"] == target.job and is_part(each) for each in queued)
    past: list[PastJob] = []
    if steps or is_whole or not queued:
        past = _find_accounted(shell, target, queued, retry=bool(queued) and not is_whole)
    parts = _merge(queued, past)
    if not parts:
        raise no_such_job(id)
    whole = is_whole or len(parts) > 1
    found: dict[str, Any] = {**(_summarize(target.job, parts) if whole else parts[0])}
    found["source"] = "queue" if queued else "accounting"
    found["states"] = Counter(state for each in parts for state in _states_of(each, target))
    found["max_rss"] = max((each["max_rss"] or 0 for each in past), default=0) or None
    if whole:
        found |= _exit_status(shell, parts, past, queued) | {"steps": None}
        return JobSummary(**found, parts=parts), parts[0]["raw_id"]
    if past:
        found["steps"] = past[0]["steps"]
        found["resources"] = past[0]["allocated"] or past[0]["requested"]
    if queued:
        has_ended = found["state"] not in UNFINISHED_STATES
        found |= job_queue.read_details(shell, found["id"], has_ended=has_ended) or {}
        for stream in ("stdout", "stderr"):  # the first component alone runs the script
            shown = None if queued[0]["component"] else found.get(stream)
            found[stream] = complete_path(queued[0], shown)
        if has_ended:
            end = (found["state"], found.get("exit_code"), found.get("signal"), found["reason"])
            found["reason"] = reason_of_end(*end)
    return JobSummary(**found), parts[0]["raw_id"]


def is_part(job: JobEntry) -> bool:
    """Return True for a part of an array or of a heterogeneous job."""
    return any(part is not None for part in (job["task"], job["tasks"], job["component"]))


def _find_accounted(
    shell: Shell, target: JobId, queued: list[QueuedJob], *, retry: bool
) -> list[PastJob]:
    """Find a job in the accounting database; with `retry`, ask again while it is missing."""
    found = drop_reused(find(shell, target), queued)
    for delay in ACCOUNTING_DELAYS if retry else ():
        if found:
            break
        time.sleep(delay)
        found = drop_reused(find(shell, target), queued)
    return found


def _merge(queued: list[QueuedJob], past: list[PastJob]) -> list[Job]:
    """Merge a job's parts in the queue with the parts that have left it."""
    known = {each["id"] for each in queued}
    # Only the queue knows which tasks of an array are still pending.
    is_stale = bool(queued) or any(each["tasks"] is None for each in past)
    # The accounting database may list parts before it records that they are parts.
    has_parts = any(is_part(each) for each in queued)
    # It has a pending task that was changed as an entry of its own, which squeue joins with others.
    joined = {n for each in queued if each["tasks"] for n in expand_indexes(each["tasks"])}
    past_only = [
        each
        for each in past
        if each["id"] not in known
        and each["task"] not in joined
        and not (each["tasks"] and is_stale)
        and (is_part(each) or not has_parts)
    ]
    return [*queued, *past_only]


def _exit_status(
    shell: Shell, parts: list[Job], past: list[PastJob], queued: list[QueuedJob]
) -> dict[str, Any]:
    """Return the highest exit code and signal of all parts; None unless all have ended."""
    unknown = {"exit_code": None, "signal": None}
    if any(each["state"] in UNFINISHED_STATES for each in parts):
        return unknown
    ends = {each["id"]: (each["exit_code"], each["signal"]) for each in past}
    if queued and any(each["id"] not in ends for each in parts):  # accounting is behind
        in_queue = job_queue.exit_codes(shell, queued[0]["job"])
        ends |= {
            each["id"]: in_queue[each["raw_id"]] for each in parts if each["raw_id"] in in_queue
        }
    codes = [ends.get(each["id"], (None, None))[0] for each in parts]
    signals = [ends.get(each["id"], (None, None))[1] for each in parts]
    if None in codes:
        return unknown
    known = [signal for signal in signals if signal is not None]
    return {"exit_code": max(filter(None, codes), default=0), "signal": max(known, default=None)}


def _states_of(job: Job, target: JobId) -> list[str]:
    """Return the state of a part, once per task in it."""
    tasks = expand_indexes(job["tasks"]) if job["tasks"] and target.task is None else [0]
    return [job["state"]] * len(tasks)


def _summarize(number: int, parts: list[Job]) -> dict[str, Any]:
    """Summarize an array or a heterogeneous job from its parts."""
    unfinished = [each["state"] for each in parts if each["state"] in UNFINISHED_STATES]
    failed = [each["state"] for each in parts if each["state"] != "COMPLETED"]
    state = "RUNNING" if "RUNNING" in unfinished else [*unfinished, *failed, "COMPLETED"][0]
    nodes = sorted({name for each in parts for name in each["node_names"]})
    ends = [each["ended"] for each in parts]
    return {
        **parts[0],
        "id": str(number),
        "state": state,
        "reason": next((each["reason"] for each in parts if each["reason"]), None),
        "nodes": len(nodes),
        "node_names": nodes,
        "cpus": sum(each["cpus"] for each in parts),
        "started": min((each["started"] for each in parts if each["started"]), default=None),
        "ended": None if None in ends else max(end for end in ends if end),
        "elapsed": max(each["elapsed"] for each in parts),
    }
