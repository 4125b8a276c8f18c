"""Cancel jobs or send them a signal, and return what happened to each."""

import re
import time
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import accounting
from operators.slurm.client import ask, on_cluster
from operators.slurm.job_outcome import count_by_state, select, unfinished
from operators.slurm.job_queue import QueuedJob, list_jobs
from operators.slurm.job_types import Job, JobName, SlurmCluster
from operators.slurm.known_names import check_accounts, check_partitions
from operators.slurm.parsing import JobId
from operators.slurm.submit_options import CommaSeparatedNames
from resop import (
    ErrorMessage,
    InvalidOptions,
    JobNotFound,
    OperationFailed,
    Shell,
    Username,
    operation,
)

JOBS_PER_SCANCEL = 500
"""Jobs per call of scancel."""
POLL_DELAYS = (0, 0.3, 0.7, 1.0, 1.0)
"""Seconds to wait before each look at the jobs that are ending."""

_REFUSAL = re.compile(r"Kill job error on job id (\S+): (.*)")
_ENDED_ALREADY = "already completing or completed"
_UNKNOWN = "Invalid job id"

_TASK_RANGE = r"[0-9]{1,10}(-[0-9]{1,10})?"
JobSelection = Annotated[
    list[
        Annotated[
            str,
            Field(
                pattern=rf"^[0-9]{{1,10}}(_([0-9]{{1,10}}|\[{_TASK_RANGE}(,{_TASK_RANGE})*\])|\+[0-9]{{1,10}})?$",
                coerce_numbers_to_str=True,
                max_length=1000,
            ),
            ErrorMessage("must be a job: 123, an array task 123_4, or tasks 123_[1-5,9]"),
        ]
    ],
    Field(min_length=1, max_length=10_000),
]


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
    jobs: Annotated[
        JobSelection | None, Field(description="job ids; array tasks: 123_4, 123_[1-5,9]")
    ] = None,
    name: Annotated[JobName | None, Field(description="only jobs with exactly this name")] = None,
    state: Annotated[
        Literal["PENDING", "RUNNING", "SUSPENDED"] | None,
        Field(description="only jobs in this state"),
    ] = None,
    partition: Annotated[
        CommaSeparatedNames | None, Field(description="only jobs in this partition")
    ] = None,
    account: Annotated[
        CommaSeparatedNames | None, Field(description="only jobs of this account")
    ] = None,
    user: Annotated[
        Username | None,
        Field(description="only jobs of this user (default: your own); by itself: all of them"),
    ] = None,
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
) -> list[Cancellation]:
    """Return what happened to each job, given by id or selected by the other options.

    A job that has already ended is not a failure. The operation fails if Slurm refuses or does not
    know any of the jobs; the error then has the whole list as `jobs`. JobNotFound: it knows none
    of those it refused.
    """
    filters = {"name": name, "state": state, "partition": partition, "account": account}
    filters["user"] = user
    if (jobs is None) == (not any(filters.values())):
        message = "give either jobs, or options that select jobs (name, state, user, …)"
        raise InvalidOptions.of("jobs", message)
    flags = [f"--signal={signal}"] if signal else []
    flags += ["--full"] if signal and batch else []
    with on_cluster(cluster):
        selected = jobs or [_scancel_id(job) for job in _select_jobs(shell, filters)]
        if not selected:
            check_partitions(shell, _split(partition), field="partition")
            check_accounts(shell, _split(account), field="account")
        ids = list(dict.fromkeys(selected))
        starts = range(0, len(ids), JOBS_PER_SCANCEL)
        groups = [ids[start : start + JOBS_PER_SCANCEL] for start in starts]
        answer = [each for group in groups for each in _cancel_jobs(shell, group, flags)]
    if refused := [each for each in answer if each["result"] == "refused"]:
        message = "; ".join(f"{each['id']}: {each['message']}" for each in refused)
        unknown = all(_UNKNOWN in (each["message"] or "") for each in refused)
        raise (JobNotFound if unknown else OperationFailed)(message, jobs=answer)
    return answer


def _select_jobs(shell: Shell, filters: dict[str, str | None]) -> list[QueuedJob]:
    """Return the jobs in the queue that match the filters."""
    filters = {**filters, "user": filters["user"] or shell.username}
    names = {"user": "user", "state": "states", "partition": "partition", "account": "account"}
    flags = [f"--{flag}={filters[key]}" for key, flag in names.items() if filters[key]]
    # Not squeue's filter by name, which splits names at commas.
    return [job for job in list_jobs(shell, *flags) if filters["name"] in (None, job["name"])]


def _split(names: str | None) -> list[str]:
    return names.split(",") if names else []


def _scancel_id(job: QueuedJob) -> str:
    """Return the id for scancel, which does not take the `%` limit of an array."""
    return re.sub(r"%\d+\]$", "]", job["id"])


def _cancel_jobs(shell: Shell, ids: Sequence[str], flags: Sequence[str]) -> list[Cancellation]:
    """Cancel or signal a group of jobs, and return what happened to each."""
    # Only a verbose scancel reports jobs that have ended or never existed.
    sent = ask(shell, "scancel", "--verbose", *flags, *ids, changes=True, check=False)
    refusals: dict[str, str] = dict(_REFUSAL.findall(sent.stderr))
    if sent.exit_code != 0 and not refusals:
        raise sent.failure()
    targets = {id: JobId.parse(id) for id in ids}
    jobs = _poll_jobs(shell, list(targets.values()), until_ended=not flags)
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


def _poll_jobs(shell: Shell, targets: Sequence[JobId], *, until_ended: bool) -> list[Job]:
    """Return the jobs as they are now; with `until_ended`, wait up to 3 s for them to end."""
    ids = list({each if each.tasks is None else JobId(each.job) for each in targets})
    queue: list[QueuedJob] = []
    for delay in POLL_DELAYS if until_ended else (0,):
        time.sleep(delay)
        queue = list_jobs(shell, "--states=all", ids=ids)
        remaining = unfinished(queue)
        if not any(select(remaining, each) for each in targets):
            break
    gone = {each.job for each in ids} - {n for job in queue for n in (job["job"], job["raw_id"])}
    if not gone:
        return [*queue]
    past = accounting.list_jobs(shell, f"--jobs={','.join(map(str, sorted(gone)))}")
    # Only the queue knows which tasks are still pending.
    return [*queue, *(job for job in past if not unfinished([job]))]


def _outcome(refusal: str | None, jobs: Sequence[Job], success: SuccessfulOutcome) -> CancelOutcome:
    if refusal is None:
        return "ending" if success == "ended" and unfinished(jobs) else success
    if _ENDED_ALREADY in refusal or (_UNKNOWN in refusal and jobs and not unfinished(jobs)):
        return "had_ended"
    return "refused"
