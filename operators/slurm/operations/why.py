"""Explain why a job waits, or why it failed, and what to do."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from operators.slurm.accounting import PastJob, find
from operators.slurm.client import on_cluster
from operators.slurm.job_types import (
    UNFINISHED_STATES,
    Bytes,
    Job,
    JobIdText,
    Seconds,
    SlurmCluster,
    TimeLimitSeconds,
    Timestamp,
)
from operators.slurm.jobs.job_outcome import count_tasks
from operators.slurm.operations.job import JobSummary, job
from operators.slurm.operations.output import output
from operators.slurm.output.output_files import OutputStream
from operators.slurm.parsing import JobId, expand_indexes
from operators.slurm.reasons.job_reasons import NO_OUTPUT_SIGNAL, reason_of_end
from operators.slurm.reasons.reason_words import ADVICE, Explanation, ReasonKind, explain_reason
from operators.slurm.waiting.job_waits import (
    JobReservation,
    Prerequisite,
    ReachedLimit,
    RequestedLicense,
    count_jobs_ahead,
    read_limit,
    read_prerequisites,
    read_requested_licenses,
    read_requirements,
    read_reservation,
)
from resop import CommandFailed, DaemonUnavailable, OperationFailed, Shell, operation

MAX_TAIL = 16_384
"""Bytes at the end of a file in which its last lines are."""
MAX_GROUPS = 100
"""Groups of parts that an answer has at most."""
_WAITING = ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT")
_SHELL_EXIT_CODES = {
    126: "exit code 126 usually means that a program is not executable",
    127: "exit code 127 usually means that a command was not found: a missing module, or a "
    "misspelled path",
}
_KINDS_OF_ENDS = frozenset(
    [
        *("exit_code", "signal", "time_limit", "memory", "node_failure", "launch", "deadline"),
        *("inactive", "cancelled", "preempted", "system", "other"),
    ]
)
_KINDS_THAT_END = frozenset(["dependency_failed", "constraints", "not_allowed", "partition"])
"""Reasons of pending jobs for which Slurm may end them."""
_SUBMIT_AGAIN = "Submit the job again when that has been corrected."
# What a state says by itself, where Slurm gives no reason.
_STATES: dict[str, tuple[ReasonKind, str]] = {
    "BOOT_FAIL": ("node_failure", "A node could not be booted for the job."),
    "CANCELLED": ("cancelled", "The job was cancelled."),
    "COMPLETED": ("none", "The job has completed."),
    "COMPLETING": ("none", "The job ends: Slurm is cleaning up."),
    "CONFIGURING": ("none", "The nodes of the job are being prepared."),
    "FAILED": ("exit_code", "The job failed, and Slurm does not say why."),
    "PREEMPTED": ("preempted", "The job had to make room for a job with a higher priority."),
    "REVOKED": ("none", "Another cluster of the federation runs the job."),
    "RUNNING": ("none", "The job runs."),
    "STAGE_OUT": ("none", "Files of the job are being copied out of the burst buffer."),
    "STOPPED": ("none", "The job was stopped by a signal, and keeps its nodes."),
    "SUSPENDED": ("none", "The job is suspended: it keeps its place, and does not run."),
}


class OutputTail(TypedDict):
    """The last lines of a file of output."""

    path: str
    text: str
    size: int
    """The size of the whole file in bytes."""


class PartGroup(TypedDict):
    """Parts of an array or a heterogeneous job that wait or ended for the same reason."""

    ids: list[str]
    """As Slurm prints them; up to 100."""
    count: int
    state: str
    reason: str | None
    meaning: str


class Why(BaseModel):
    """Why a job waits, or why it ended."""

    id: str
    explained: str
    """The part that is explained: of an array or a heterogeneous job, the first that failed, or
    else the first that waits."""
    name: str
    user: str
    partition: str
    state: str
    states: dict[str, int]
    """The number of jobs, tasks or components by state."""
    reason: str | None
    """Slurm's word."""
    kind: ReasonKind
    meaning: str
    """The reason in a sentence."""
    advice: str | None
    """A sentence about what to do."""
    since: Timestamp | None
    """When the job was submitted, if it waits; when it started, if it runs; when it ended."""
    expected_start: Timestamp | None = None
    priority: int | None = None
    jobs_ahead: int | None = None
    """The number of pending jobs and tasks with a higher priority in the partition."""
    depends_on: list[Prerequisite] = []
    """The conditions of its dependency that are not met."""
    limit: ReachedLimit | None = None
    """The limit that the reason names."""
    reservation: JobReservation | None = None
    licenses: list[RequestedLicense] = []
    exit_code: int | None = None
    signal: int | None = None
    elapsed: Seconds
    time_limit: TimeLimitSeconds | None
    """UNLIMITED if it has none; None if it is not known, or not set yet."""
    memory: Bytes | None = None
    """The memory that the job has on all of its nodes together."""
    max_rss: Bytes | None = None
    """The highest memory use of any task of any step; known when the job has ended."""
    stdout: OutputTail | None = None
    stderr: OutputTail | None = None
    """None if it goes to the same file as the output."""
    parts: list[PartGroup] = []


@operation(share_for=2, examples=[{"id": "4242"}, {"id": "4243_7", "lines": 50}])
def why(
    shell: Shell,
    id: JobIdText,
    lines: Annotated[
        int, Field(ge=0, le=200, description="last lines of the output to return; 0: none")
    ] = 20,
    cluster: SlurmCluster = None,
) -> Why:
    """Return why the job waits or why it ended, in words, and what to do about it.

    JobNotFound: neither the queue nor the accounting database has the job. Everything but the
    reason is left out where it cannot be found out.
    """
    with on_cluster(cluster):
        whole = job(shell, id=id, cluster=cluster)
        part = whole
        if whole.parts:
            part = job(shell, id=_id_of(_most_telling(whole.parts)), cluster=cluster)
        part.reason = _final_reason(part.state, part.reason)
        past = _find_past(shell, part)
        reason = _explain(shell, part, past)._asdict()
        answer = Why(**_description(whole, part), **reason, **_use(part, past))
        if part.state in _WAITING:
            _add_waits(shell, answer, part)
        elif lines and part.signal != NO_OUTPUT_SIGNAL:
            _add_output(shell, answer, part, lines)
    return answer


def _most_telling(parts: Sequence[Job]) -> Job:
    """Return the first part that failed, or else the first that waits, runs or completed."""
    return min(parts, key=_rank)


def _rank(part: Job) -> tuple[int, int]:
    """Return the place of a part: failed ones come first, then by index."""
    order = ("failed", "waiting", "running", "completed")
    indexes = expand_indexes(part["tasks"]) if part["tasks"] else [part["task"] or 0]
    return order.index(_progress(part["state"])), part["component"] or indexes[0]


def _progress(state: str) -> str:
    if state in _WAITING:
        return "waiting"
    if state in UNFINISHED_STATES:
        return "running"
    return "completed" if state == "COMPLETED" else "failed"


def _id_of(part: Job) -> str:
    """Return the id of a part; of tasks that share an entry, that of the first."""
    if part["tasks"] is None:
        return part["id"]
    return f"{part['job']}_{expand_indexes(part['tasks'])[0]}"


def _description(whole: JobSummary, part: JobSummary) -> dict[str, Any]:
    """Return what the job is, and since when it is in its state."""
    since = part.submitted if part.state in _WAITING else part.ended or part.started
    own = ("name", "user", "partition", "state", "reason", "expected_start", "priority")
    return {
        "id": whole.id,
        "explained": part.id,
        "states": whole.states,
        "since": since,
        "parts": _group_parts(whole.parts),
        **{name: getattr(part, name) for name in own},
    }


def _final_reason(state: str, reason: str | None) -> str | None:
    """Return the reason; of a job that did not complete, not the reason for which it once waited.

    The accounting database keeps that of jobs that never started.
    """
    if reason is None or _progress(state) != "failed":
        return reason
    is_final = explain_reason(reason).kind in (*_KINDS_OF_ENDS, *_KINDS_THAT_END)
    return reason if is_final else reason_of_end(state, None, None, None)


def _group_parts(parts: Sequence[Job]) -> list[PartGroup]:
    """Return the parts by state and reason, failed ones first."""
    groups: dict[tuple[str, str | None], list[Job]] = {}
    for each in sorted(parts, key=_rank):
        reason = _final_reason(each["state"], each["reason"])
        groups.setdefault((each["state"], reason), []).append(each)
    return [
        PartGroup(
            ids=[each["id"] for each in members[:MAX_GROUPS]],
            count=count_tasks(members),
            state=state,
            reason=reason,
            meaning=_explain_state(state, reason).meaning,
        )
        for (state, reason), members in [*groups.items()][:MAX_GROUPS]
    ]


def _explain_state(state: str, reason: str | None) -> Explanation:
    """Return a state and Slurm's reason for it in words."""
    progress = _progress(state)
    if progress == "waiting":
        return explain_reason(reason or "None")
    if reason is not None and progress == "failed":
        found = explain_reason(reason)
        is_own = found.kind in _KINDS_OF_ENDS
        return found if is_own else found._replace(advice=_SUBMIT_AGAIN)
    if state not in _STATES:
        return explain_reason(state)
    kind, meaning = _STATES[state]
    return Explanation(kind, meaning, ADVICE[kind])


def _explain(shell: Shell, part: JobSummary, past: PastJob | None) -> Explanation:
    """Return the explanation, with the details that exit code, memory and user give."""
    found = _explain_state(part.state, part.reason)
    meaning = found.meaning
    if found.kind == "exit_code" and part.exit_code:
        meaning = _exit_code_meaning(part.exit_code)
    if found.kind == "cancelled" and past and past["cancelled_by"]:
        meaning = f"The job was cancelled by {_user_name(shell, past['cancelled_by'])}."
    if found.kind in ("exit_code", "signal") and _is_near_memory_limit(part, past):
        meaning += " It had used nearly all of its memory."
    return found._replace(meaning=meaning)


def _exit_code_meaning(code: int) -> str:
    detail = _SHELL_EXIT_CODES.get(code)
    if detail is None and 128 < code < 192:
        detail = f"exit code {code} usually means that signal {code - 128} ended a program"
    meaning = f"The job's script ended with exit code {code}"
    return f"{meaning}; {detail}." if detail else f"{meaning}."


def _user_name(shell: Shell, uid: str) -> str:
    answer = shell.run("id", "-un", uid, check=False)
    return answer.stdout.strip() or f"the user with the UID {uid}"


def _is_near_memory_limit(part: JobSummary, past: PastJob | None) -> bool:
    """Return True if a task used nine tenths of the memory that the job had on a node."""
    used, memory = _max_rss(part, past), part.resources.get("mem", 0)
    return memory > 0 and used * max(part.nodes, 1) > 0.9 * memory


def _max_rss(part: JobSummary, past: PastJob | None) -> int:
    return part.max_rss or (past["max_rss"] if past else None) or 0


def _find_past(shell: Shell, part: JobSummary) -> PastJob | None:
    """Return what the accounting database has of a job that did not complete."""
    if _progress(part.state) != "failed":
        return None
    try:
        return next(iter(find(shell, JobId.parse(part.id))), None)
    except (CommandFailed, DaemonUnavailable, OperationFailed) as fault:
        shell.log(f"the accounting database was not asked: {fault.message}")
        return None


def _use(part: JobSummary, past: PastJob | None) -> dict[str, Any]:
    """Return the limits of the job, and what it used of them."""
    return {
        "exit_code": part.exit_code,
        "signal": part.signal,
        "elapsed": part.elapsed,
        "time_limit": part.time_limit,
        "memory": part.resources.get("mem"),
        "max_rss": _max_rss(part, past) or None,
    }


def _add_waits(shell: Shell, answer: Why, part: JobSummary) -> None:
    """Add what a pending job waits for."""
    if part.dependency:
        answer.depends_on = read_prerequisites(shell, part.dependency)
    if answer.kind in ("resources", "priority") and part.priority:
        answer.jobs_ahead = count_jobs_ahead(shell, part.partition, part.priority)
    if answer.kind in ("licenses", "reservation"):
        _add_requirements(shell, answer, part)
    if part.reason:
        answer.limit = read_limit(
            shell,
            part.reason,
            partition=part.partition,
            qos=part.qos,
            account=part.account,
            user=part.user,
        )


def _add_requirements(shell: Shell, answer: Why, part: JobSummary) -> None:
    asked = read_requirements(shell, JobId.parse(part.id))
    if asked["reservation"]:
        answer.reservation = read_reservation(shell, asked["reservation"])
    if asked["licenses"]:
        answer.licenses = read_requested_licenses(shell, asked["licenses"])


def _add_output(shell: Shell, answer: Why, part: JobSummary, lines: int) -> None:
    """Add the last lines of the job's output, and of its errors if they have their own file."""
    target = JobId.parse(part.id)
    # The first component of a heterogeneous job alone runs the script.
    id = part.id if target.component is None else f"{target.job}+0"
    answer.stdout = _tail(shell, id, "stdout", lines)
    if part.stderr is not None and part.stderr == part.stdout:
        return
    errors = _tail(shell, id, "stderr", lines)
    if errors and (answer.stdout is None or errors["path"] != answer.stdout["path"]):
        answer.stderr = errors


def _tail(shell: Shell, id: str, stream: OutputStream, lines: int) -> OutputTail | None:
    """Return the last lines of a file of output; None if there is none."""
    try:
        chunk = output(shell, id=id, stream=stream, tail=lines, limit=MAX_TAIL)
    except (CommandFailed, OperationFailed) as fault:
        shell.log(f"{stream}: {fault.message}")
        return None
    return OutputTail(path=chunk["path"], text=chunk["text"], size=chunk["size"])
