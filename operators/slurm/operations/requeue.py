"""Requeue jobs: stop them if they run, and put them back into the queue."""

from collections.abc import Sequence
from typing import Annotated, Literal, Unpack

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.client import on_cluster
from operators.slurm.job_types import SlurmCluster
from operators.slurm.jobs.job_changes import (
    PENDING,
    JobChange,
    change_jobs,
    fail_if_refused,
    is_held,
)
from operators.slurm.jobs.job_outcome import count_by_state
from operators.slurm.jobs.job_queue import QueuedJob
from operators.slurm.jobs.job_selection import SelectionOptions, groups, select_ids
from operators.slurm.parsing import JobId
from resop import Shell, operation

RequeueResult = Literal["requeued", "requeuing", "held", "pending", "refused"]
NOT_HELD = "Slurm has requeued the job, but does not hold it"
# What is behind Slurm's words, which name the cause badly.
_CAUSES = {
    "Requested operation is presently disabled": "the job was submitted with --no-requeue, or the "
    "site requeues no jobs (JobRequeue=0)",
    "Only batch jobs are accepted or processed": "a job of srun or salloc has no script to run "
    "again",
    PENDING: "it waits in the queue: use hold",
}
_LEFT = "the job has ended and left the queue: submit it again"
_COMPONENT = "a component of a heterogeneous job cannot be requeued by itself: give the job's id"
_ENDING = ("RUNNING", "COMPLETING", "SUSPENDED")


class Requeue(TypedDict):
    """The result for one job."""

    id: str
    result: RequeueResult
    """`requeuing`: at least a part of the job still ends. `held`: requeued, and held until it is
    released. `pending`: it waited in the queue already."""
    states: dict[str, int]
    """The number of jobs, tasks or components by state now."""
    message: str | None
    """Slurm's message, if it refused, and what is behind it."""


@operation(examples=[{"jobs": ["4242", "4243_7"]}, {"state": "RUNNING"}])
def requeue(
    shell: Shell,
    hold: Annotated[
        bool, Field(description="hold the jobs until they are released, like requeuehold")
    ] = False,
    cluster: SlurmCluster = None,
    **selection: Unpack[SelectionOptions],
) -> list[Requeue]:
    """Return what happened to each job, given by id or selected by the other options.

    A requeued job keeps its id, and starts again from the beginning of its script. Jobs that run
    are stopped. Jobs that have ended can be requeued while the queue still has them. After a job
    was stopped, Slurm waits a minute or two before it starts it again (BeginTime). A job that is
    pending already is not a failure, except with `hold`. The operation fails if Slurm refuses or
    does not know any of the jobs; the error then has the whole list as `jobs`. JobNotFound: it
    knows none of those it refused.
    """
    verb = "requeuehold" if hold else "requeue"
    ignored = () if hold else (PENDING,)
    changes: list[JobChange] = []
    with on_cluster(cluster):
        for group in groups(select_ids(shell, selection)):
            changes += change_jobs(
                shell,
                lambda ids: ("scontrol", verb, ids),
                group,
                ignored=ignored,
                is_settled=_has_stopped,
            )
    answer = [_outcome(change, hold=hold) for change in changes]
    fail_if_refused(answer, [each.id for each in changes if each.is_unknown])
    return answer


def _has_stopped(remaining: list[QueuedJob]) -> bool:
    return not any(job["state"] in _ENDING for job in remaining)


def _outcome(change: JobChange, *, hold: bool) -> Requeue:
    messages: Sequence[str] = [_explain(change, each) for each in change.messages]
    result: RequeueResult
    if messages:
        result = "refused"
    elif change.had_ended:
        result, messages = "refused", [_LEFT]
    elif not _has_stopped(change.remaining):
        result = "requeuing"
    elif hold and not all(is_held(job) for job in change.remaining):
        result, messages = "refused", [NOT_HELD]
    elif hold:
        result = "held"
    else:
        result = "pending" if change.was_ignored else "requeued"
    return Requeue(
        id=change.id,
        result=result,
        states=count_by_state(change.jobs),
        message="; ".join(messages) or None,
    )


def _explain(change: JobChange, message: str) -> str:
    """Return Slurm's message with what is behind it."""
    if change.remaining and JobId.parse(change.id).component is not None:
        return f"{message}: {_COMPONENT}"
    cause = next((text for said, text in _CAUSES.items() if message.endswith(said)), None)
    return f"{message}: {cause}" if cause else message
