"""Cancel jobs or send them a signal, and return what happened to each."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal, Unpack

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.client import ask, on_cluster
from operators.slurm.job_types import Job, SlurmCluster
from operators.slurm.jobs.job_outcome import count_by_state, select, unfinished
from operators.slurm.jobs.job_selection import (
    UNKNOWN_JOB,
    SelectionOptions,
    groups,
    poll_jobs,
    select_ids,
)
from operators.slurm.parsing import JobId
from resop import ErrorMessage, JobNotFound, OperationFailed, Shell, operation

_REFUSAL = re.compile(r"Kill job error on job id (\S+): (.*)")
_ENDED_ALREADY = "already completing or completed"

SuccessfulOutcome = Literal["ended", "signalled"]
CancelOutcome = Literal["ended", "ending", "signalled", "had_ended", "refused"]


class Cancellation(TypedDict):
    """The result for one job."""

    id: str
    result: CancelOutcome
    """`ending`: Slurm has sent the signals, and at least a part of the job still runs."""
    states: dict[str, int]
    """The number of jobs, tasks or components by state now."""
    message: str | None
    """Slurm's message, if it refused."""


@operation(
    examples=[
        {"jobs": ["4242", "4243_7", "4244_[1-5]"]},
        {"state": "PENDING"},
        {"name": "test run", "signal": "USR1", "batch": True},
    ]
)
def cancel(
    shell: Shell,
    signal: Annotated[
        Annotated[
            str,
            Field(pattern=r"^[A-Z0-9]{1,10}$"),
            ErrorMessage("must be a signal's name or number, such as USR1 or 10"),
        ]
        | None,
        Field(description="send this signal (USR1, 10) instead of cancelling"),
    ] = None,
    batch: Annotated[
        bool, Field(description="send the signal to the batch script as well as to its steps")
    ] = False,
    cluster: SlurmCluster = None,
    **selection: Unpack[SelectionOptions],
) -> list[Cancellation]:
    """Return what happened to each job, given by id or selected by the other options.

    A job that has already ended is not a failure. The operation fails if Slurm refuses or does not
    know any of the jobs; the error then has the whole list as `jobs`. JobNotFound: it knows none
    of those it refused.
    """
    flags = [f"--signal={signal}"] if signal else []
    flags += ["--full"] if signal and batch else []
    with on_cluster(cluster):
        ids = select_ids(shell, selection)
        answer = [each for group in groups(ids) for each in _cancel_jobs(shell, group, flags)]
    if refused := [each for each in answer if each["result"] == "refused"]:
        message = "; ".join(f"{each['id']}: {each['message']}" for each in refused)
        unknown = all(UNKNOWN_JOB in (each["message"] or "") for each in refused)
        raise (JobNotFound if unknown else OperationFailed)(message, jobs=answer)
    return answer


def _cancel_jobs(shell: Shell, ids: Sequence[str], flags: Sequence[str]) -> list[Cancellation]:
    """Cancel or signal a group of jobs, and return what happened to each."""
    # Only a verbose scancel reports jobs that have ended or never existed.
    sent = ask(shell, "scancel", "--verbose", *flags, *ids, changes=True, check=False)
    refusals: dict[str, str] = dict(_REFUSAL.findall(sent.stderr))
    if sent.exit_code != 0 and not refusals:
        raise sent.failure()
    targets = {id: JobId.parse(id) for id in ids}
    jobs = poll_jobs(shell, list(targets.values()), lambda left: bool(flags) or not left)
    # For a pending task scancel may name all pending tasks of the array: 123_[4-9].
    by_array = {
        id.partition("_")[0]: message for id, message in refusals.items() if id not in targets
    }
    answer = []
    for id, target in targets.items():
        refusal = refusals.get(id) or by_array.get(str(target.job))
        own = select(jobs, target)
        result = _outcome(refusal, own, "signalled" if flags else "ended")
        message = refusal if result == "refused" else None
        answer.append(
            Cancellation(id=id, result=result, states=count_by_state(own), message=message)
        )
    return answer


def _outcome(refusal: str | None, jobs: Sequence[Job], success: SuccessfulOutcome) -> CancelOutcome:
    if refusal is None:
        return "ending" if success == "ended" and unfinished(jobs) else success
    if _ENDED_ALREADY in refusal or (UNKNOWN_JOB in refusal and jobs and not unfinished(jobs)):
        return "had_ended"
    return "refused"
