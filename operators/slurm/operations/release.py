"""Release held jobs, so that they can start."""

from collections.abc import Sequence
from typing import Literal, Unpack

from typing_extensions import TypedDict

from operators.slurm.client import on_cluster
from operators.slurm.job_types import SlurmCluster
from operators.slurm.jobs.job_changes import JobChange, change_jobs, fail_if_refused, is_held
from operators.slurm.jobs.job_outcome import count_by_state
from operators.slurm.jobs.job_selection import SelectionOptions, groups, select_ids
from resop import Shell, operation

STILL_HELD = "Slurm has accepted the request, but still holds the job"
# Why users cannot release a held job themselves, by the reason that Slurm gives.
_HOLDERS = {
    "JobHeldAdmin": "an administrator holds this job (JobHeldAdmin), and only an administrator can "
    "release it",
    "JobHoldMaxRequeue": "Slurm holds this job because it was requeued too often "
    "(JobHoldMaxRequeue), and only an administrator can release it",
    "BadConstraints": "Slurm holds this job because no nodes can ever meet its request "
    "(BadConstraints): change the request, or submit it again",
}


class Release(TypedDict):
    """The result for one job."""

    id: str
    result: Literal["released", "had_ended", "refused"]
    """`released`: nothing holds the job now, whether or not it was held before."""
    states: dict[str, int]
    """The number of jobs, tasks or components by state now."""
    message: str | None
    """Slurm's message, if it refused, and why the job cannot be released."""


@operation(examples=[{"jobs": ["4242", "4243_7", "4244_[1-5]"]}, {"name": "test run"}])
def release(
    shell: Shell,
    cluster: SlurmCluster = None,
    **selection: Unpack[SelectionOptions],
) -> list[Release]:
    """Return what happened to each job, given by id or selected by the other options.

    The other options select pending jobs, unless `state` is given. A job that an administrator
    holds (JobHeldAdmin) can only be released by an administrator. A job that is not held, or has
    ended, is not a failure. The operation fails if Slurm refuses or does not know any of the jobs;
    the error then has the whole list as `jobs`. JobNotFound: it knows none of those it refused.
    """
    changes: list[JobChange] = []
    with on_cluster(cluster):
        for group in groups(select_ids(shell, selection, state="PENDING")):
            changes += change_jobs(shell, lambda ids: ("scontrol", "release", ids), group)
    answer = [_outcome(change) for change in changes]
    fail_if_refused(answer, [each.id for each in changes if each.is_unknown])
    return answer


def _outcome(change: JobChange) -> Release:
    held = [job for job in change.remaining if is_held(job)]
    messages: Sequence[str] = change.messages
    result: Literal["released", "had_ended", "refused"]
    if messages or held:
        result = "refused"
        holders = {_HOLDERS.get(job["reason"] or "") for job in held} - {None}
        messages = [*(messages or [STILL_HELD]), *sorted(filter(None, holders))]
    else:
        result = "released" if change.remaining else "had_ended"
    return Release(
        id=change.id,
        result=result,
        states=count_by_state(change.jobs),
        message=": ".join(messages) or None,
    )
