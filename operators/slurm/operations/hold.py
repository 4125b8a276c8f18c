"""Hold jobs, so that they do not start until they are released."""

from collections.abc import Sequence
from typing import Annotated, Literal, Unpack

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.client import on_cluster
from operators.slurm.job_types import SlurmCluster
from operators.slurm.jobs.job_changes import JobChange, change_jobs, fail_if_refused, is_held
from operators.slurm.jobs.job_outcome import count_by_state
from operators.slurm.jobs.job_selection import SelectionOptions, groups, select_ids
from resop import Shell, operation

NOT_HELD = "Slurm has accepted the request, but the job is not held"


class Hold(TypedDict):
    """The result for one job."""

    id: str
    result: Literal["held", "started", "had_ended", "refused"]
    """`held`: all parts that wait are held. `started`: the whole job runs; it is held when it is
    requeued."""
    states: dict[str, int]
    """The number of jobs, tasks or components by state now."""
    message: str | None
    """Slurm's message, if it refused."""


@operation(examples=[{"jobs": ["4242", "4243_7", "4244_[1-5]"]}, {"name": "test run"}])
def hold(
    shell: Shell,
    uhold: Annotated[
        bool,
        Field(
            description="for administrators: a hold that the user can release, "
            "like scontrol uhold; users can always release their own holds"
        ),
    ] = False,
    cluster: SlurmCluster = None,
    **selection: Unpack[SelectionOptions],
) -> list[Hold]:
    """Return what happened to each job, given by id or selected by the other options.

    The other options select pending jobs, unless `state` is given. Of an array, the tasks that
    wait are held, and running tasks continue. A job that has already ended is not a failure. The
    operation fails if Slurm refuses or does not know any of the jobs; the error then has the whole
    list as `jobs`. JobNotFound: it knows none of those it refused.
    """
    verb = "uhold" if uhold else "hold"
    changes: list[JobChange] = []
    with on_cluster(cluster):
        for group in groups(select_ids(shell, selection, state="PENDING")):
            changes += change_jobs(shell, lambda ids: ("scontrol", verb, ids), group)
    answer = [_outcome(change) for change in changes]
    fail_if_refused(answer, [each.id for each in changes if each.is_unknown])
    return answer


def _outcome(change: JobChange) -> Hold:
    waiting = [job for job in change.remaining if job["state"] != "RUNNING"]
    free = [job["id"] for job in waiting if job["state"] == "PENDING" and not is_held(job)]
    messages: Sequence[str] = change.messages
    result: Literal["held", "started", "had_ended", "refused"]
    if messages:
        result = "refused"
        if len(free) < len(waiting):
            messages = [*messages, *(f"{id} is not held" for id in free)]
    elif not change.remaining:
        result = "had_ended"
    elif not any(job["state"] == "PENDING" or is_held(job) for job in waiting):
        result = "started"
    elif not free:
        result = "held"
    else:
        result, messages = "refused", [NOT_HELD]
    return Hold(
        id=change.id,
        result=result,
        states=count_by_state(change.jobs),
        message="; ".join(messages) or None,
    )
