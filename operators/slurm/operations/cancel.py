"""Cancel jobs, or send them a signal; the answer tells what has become of each."""

import re
import time
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.accounting import accounted
from operators.slurm.client import ask
from operators.slurm.job_outcome import by_state, meant, waiting
from operators.slurm.job_queue import QueuedJob, queued
from operators.slurm.job_types import Job, JobName
from operators.slurm.parsing import JobId
from operators.slurm.submit_options import Names
from resop import InvalidOptions, OperationFailed, Shell, Username, operation

AT_ONCE = 500
"""Jobs that one scancel is given."""
PAUSES = (0, 0.3, 0.7, 1.0, 1.0)
"""Seconds between looks at what is to end."""

_REFUSAL = re.compile(r"Kill job error on job id (\S+): (.*)")
_ENDED_ALREADY = "already completing or completed"
_UNKNOWN = "Invalid job id"

TASKS = r"[0-9]{1,10}(-[0-9]{1,10})?"
Jobs = Annotated[
    list[
        Annotated[
            str,
            Field(
                pattern=rf"^[0-9]{{1,10}}(_([0-9]{{1,10}}|\[{TASKS}(,{TASKS})*\])|\+[0-9]{{1,10}})?$",
                coerce_numbers_to_str=True,
                max_length=1000,
            ),
        ]
    ],
    Field(min_length=1, max_length=10_000),
]


Done = Literal["ended", "signalled"]
Result = Literal["ended", "ending", "signalled", "had_ended", "refused"]


class Cancelled(TypedDict):
    """What has become of a job."""

    id: str
    result: Result
    """`ending`: Slurm has sent the signals, and the job, or a part of it, is not gone yet."""
    states: dict[str, int]
    """How many jobs, tasks or components are in which state now."""
    message: str | None
    """What Slurm said, where it refused."""


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
        Jobs | None, Field(description="numbers; tasks of an array: 123_4, 123_[1-5,9]")
    ] = None,
    name: Annotated[JobName | None, Field(description="jobs of exactly this name")] = None,
    state: Annotated[
        Literal["PENDING", "RUNNING", "SUSPENDED"] | None, Field(description="jobs in this state")
    ] = None,
    partition: Annotated[Names | None, Field(description="jobs in this partition")] = None,
    account: Annotated[Names | None, Field(description="jobs of this account")] = None,
    user: Annotated[
        Username | None, Field(description="whose; one's own when not given. Alone: all of them")
    ] = None,
    signal: Annotated[
        str | None,
        Field(pattern=r"^[A-Z0-9]{1,10}$", description="send this (USR1, 10), do not cancel"),
    ] = None,
    batch: Annotated[
        bool, Field(description="the signal is for the batch script, too, not its steps alone")
    ] = False,
) -> list[Cancelled]:
    """Return what has become of each job that was named, or selected by what was given.

    A job that had ended is no failure. The operation fails if Slurm refuses any of the jobs, or
    does not know it; the error has the whole list as `jobs`.
    """
    chosen = {"name": name, "state": state, "partition": partition, "account": account}
    chosen["user"] = user
    if (jobs is None) == (not any(chosen.values())):
        reason = "give either jobs, or what to select them by"
        raise InvalidOptions([{"field": "jobs", "message": reason}])
    ids = list(dict.fromkeys(jobs or [_id(job) for job in _selected(shell, chosen)]))
    how = [f"--signal={signal}"] if signal else []
    how += ["--full"] if signal and batch else []
    parts = [ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE)]
    answer = [each for part in parts for each in _cancelled(shell, part, how)]
    if refused := [each for each in answer if each["result"] == "refused"]:
        said = "; ".join(f"{each['id']}: {each['message']}" for each in refused)
        raise OperationFailed(said, jobs=answer)
    return answer


def _selected(shell: Shell, chosen: dict[str, str | None]) -> list[QueuedJob]:
    """The jobs in the queue that were not named one by one."""
    chosen = {**chosen, "user": chosen["user"] or shell.username}
    filters = {"user": "user", "state": "states", "partition": "partition", "account": "account"}
    given = [f"--{flag}={chosen[key]}" for key, flag in filters.items() if chosen[key]]
    # A name may hold commas, at which squeue would split it.
    return [job for job in queued(shell, *given) if chosen["name"] in (None, job["name"])]


def _id(job: QueuedJob) -> str:
    """As scancel takes it: without the limit of an array."""
    return re.sub(r"%\d+\]$", "]", job["id"])


def _cancelled(shell: Shell, ids: Sequence[str], how: Sequence[str]) -> list[Cancelled]:
    """Cancel or signal some jobs; what has become of each."""
    # Only when verbose does it tell of jobs that have ended or never were.
    sent = ask(shell, "scancel", "--verbose", *how, *ids, changes=True, check=False)
    refusals: dict[str, str] = dict(_REFUSAL.findall(sent.stderr))
    if sent.exit_code != 0 and not refusals:
        raise sent.failure()
    wanted = {id: JobId.parse(id) for id in ids}
    jobs = _looked_after(shell, list(wanted.values()), patient=not how)
    # Of a task that waits it may speak as of all that wait: 123_[4-9].
    others = {id.partition("_")[0]: said for id, said in refusals.items() if id not in wanted}
    answer = []
    for id, each in wanted.items():
        refusal = refusals.get(id) or others.get(str(each.job))
        own = meant(jobs, each)
        result = _result(refusal, own, "signalled" if how else "ended")
        message = refusal if result == "refused" else None
        answer.append(Cancelled(id=id, result=result, states=by_state(own), message=message))
    return answer


def _looked_after(shell: Shell, wanted: Sequence[JobId], *, patient: bool) -> list[Job]:
    """The jobs as they are, or, if `patient`, as they are when they have ended, or some s later."""
    ids = list({each if each.tasks is None else JobId(each.job) for each in wanted})
    queue: list[QueuedJob] = []
    for pause in PAUSES if patient else (0,):
        time.sleep(pause)
        queue = queued(shell, "--states=all", ids=ids)
        left = waiting(queue)
        if not any(meant(left, each) for each in wanted):
            break
    gone = {each.job for each in ids} - {n for job in queue for n in (job["job"], job["raw_id"])}
    if not gone:
        return [*queue]
    past = accounted(shell, f"--jobs={','.join(map(str, sorted(gone)))}")
    # What still waits, the queue alone knows.
    return [*queue, *(job for job in past if not waiting([job]))]


def _result(refusal: str | None, jobs: Sequence[Job], done: Done) -> Result:
    if refusal is None:
        return "ending" if done == "ended" and waiting(jobs) else done
    if _ENDED_ALREADY in refusal or (_UNKNOWN in refusal and jobs and not waiting(jobs)):
        return "had_ended"
    return "refused"
