"""Change jobs with scontrol(1), and find out what has happened to each of them.

scontrol reports refusals only: `MESSAGE for job ID`, or `ID: MESSAGE` for the tasks of an array.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

from operators.slurm.client import ask
from operators.slurm.job_types import Job
from operators.slurm.jobs.job_outcome import select, unfinished
from operators.slurm.jobs.job_queue import QueuedJob
from operators.slurm.jobs.job_selection import UNKNOWN_JOB, poll_jobs
from operators.slurm.parsing import JobId, expand_indexes
from resop import CommandFailed, JobNotFound, OperationFailed, Result, Shell

HELD_STATES = frozenset(["PENDING", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"])
PENDING = "Job is pending execution"

_SUCCESS = "No error"
_ENDED = ("Job has already finished", "Job/step already completing or completed")
_NOT_YOURS = ("Access/permission denied", "Invalid user id")
_REPORT = re.compile(
    r"^(?:(?P<part>[0-9]+(?:_\S+|\+[0-9]+)?): (?P<said>.*)"
    r"|(?P<message>.*) for job (?P<id>[0-9]+(?:_\S+|\+[0-9]+)?))$",
    re.MULTILINE,
)
_PREFIX = re.compile(r"^scontrol: (?:error: )?")


class Report(NamedTuple):
    """A message of scontrol about a job, or about some tasks of an array."""

    job: JobId
    message: str
    part: str | None = None
    """The tasks of an array, as scontrol prints them: 4243_1-3,7."""

    @property
    def is_success(self) -> bool:
        """Return True for the tasks of an array that were changed while others were not."""
        return self.message.partition(" (")[0] == _SUCCESS

    def concerns(self, target: JobId) -> bool:
        """Return True if any of the tasks or components of `target` is meant."""
        if self.job.job != target.job:
            return False
        if target.component is not None or self.job.component is not None:
            return target.component in (None, self.job.component)
        own, named = _indexes(self.job), _indexes(target)
        if named is None and self.part is not None and self.message.startswith(UNKNOWN_JOB):
            return False  # an array as a whole has no tasks that do not exist
        return own is None or named is None or bool(own & named)

    def about(self, target: JobId) -> str:
        """Return the message, with the part of `target` that it is about."""
        is_whole = self.part is None or _indexes(self.job) == _indexes(target)
        return self.message if is_whole else f"{self.part}: {self.message}"


class JobChange(NamedTuple):
    """The result for one of the jobs that were to be changed."""

    id: str
    jobs: list[Job]
    """Its parts now, also parts that have ended."""
    remaining: list[QueuedJob]
    """Its parts that have not ended."""
    messages: list[str]
    """Why Slurm refused to change a part of it, each with what resop knows about that."""
    is_unknown: bool
    """True if neither the queue nor the accounting database has the job."""
    had_ended: bool
    """True if all of it had ended before."""
    was_ignored: bool
    """True if Slurm changed nothing, for a reason that is no failure."""


def change_jobs(
    shell: Shell,
    argv: Callable[[str], Sequence[str]],
    ids: Sequence[str],
    *,
    ignored: Sequence[str] = (),
    is_settled: Callable[[list[QueuedJob]], bool] = lambda _: True,
) -> list[JobChange]:
    """Change a group of jobs by one call of scontrol, and return what has happened to each.

    `argv` makes the command line for a list of ids. What Slurm says of parts that have ended, and
    the `ignored` messages, are no refusals. Raises CommandFailed with all that scontrol said if
    that names none of several jobs.
    """
    sent = ask(shell, *argv(",".join(ids)), changes=True, check=False)
    reports = parse_reports(sent.stderr)
    targets = {id: JobId.parse(id) for id in ids}
    if sent.exit_code != 0 and not reports:
        text = _all_messages(sent)
        if len(ids) > 1 or not text:
            raise _failure(sent, text)
        reports = [Report(targets[ids[0]], text)]
    jobs = poll_jobs(shell, [*targets.values()], is_settled, each_task=True)
    changes = []
    for id, target in targets.items():
        said = [each for each in reports if each.concerns(target)]
        changes.append(_change(shell, id, select(jobs, target), said, ignored))
    return changes


def parse_reports(stderr: str) -> list[Report]:
    """Parse what scontrol says of jobs; for changed jobs it says nothing, or `No error`."""
    return [
        Report(
            _job_id(found["id"] or found["part"]),
            found["message"] or found["said"] or "",
            found["part"],
        )
        for found in _REPORT.finditer(stderr)
    ]


def is_held(job: QueuedJob) -> bool:
    """Return True if the job cannot start until it is released."""
    return job["state"] in HELD_STATES and job["priority"] == 0


def fail_if_refused(answer: Sequence[Mapping[str, object]], unknown: Sequence[str]) -> None:
    """Raise OperationFailed, with the whole answer, if Slurm refused to change any of the jobs.

    JobNotFound: it does not know any of those; `unknown` are the ids of the jobs that it does not
    know.
    """
    refused = [each for each in answer if each["result"] == "refused"]
    if refused:
        message = "; ".join(f"{each['id']}: {each['message']}" for each in refused)
        is_unknown = all(each["id"] in unknown for each in refused)
        raise (JobNotFound if is_unknown else OperationFailed)(message, jobs=[*answer])


def _change(
    shell: Shell, id: str, jobs: list[Job], said: Sequence[Report], ignored: Sequence[str]
) -> JobChange:
    refusals = [each for each in said if not each.is_success]
    remaining = [cast("QueuedJob", job) for job in unfinished(jobs) if "priority" in job]
    had_ended = bool(jobs) and not remaining and bool(refusals)
    expected = (*_ENDED, *ignored, *((UNKNOWN_JOB,) if had_ended else ()))
    texts = dict.fromkeys(
        each.about(JobId.parse(id)) for each in refusals if not each.message.startswith(expected)
    )
    return JobChange(
        id=id,
        jobs=jobs,
        remaining=remaining,
        messages=[_explain(shell, text, jobs) for text in texts],
        is_unknown=not jobs and any(UNKNOWN_JOB in each.message for each in refusals),
        had_ended=had_ended and not texts,
        was_ignored=bool(refusals) and len(refusals) == len(said) and not texts,
    )


def _explain(shell: Shell, message: str, jobs: Sequence[Job]) -> str:
    """Return Slurm's message, with whose job it is if that is why Slurm refused."""
    owner = next((job["user"] for job in jobs), shell.username)
    if message.endswith(_NOT_YOURS) and owner != shell.username:
        return f"{message}: this is a job of {owner}"
    return message


def _job_id(text: str) -> JobId:
    """Parse an id as scontrol prints it: 4243_1-3,7, perhaps shortened by `...`."""
    number, _, tasks = text.partition("_")
    if not tasks:
        return JobId.parse(text)
    complete = re.sub(r"[-,]?[0-9]*\.\.\.$", "", tasks)
    return JobId(int(number), tasks=re.sub(r"[^0-9,:-]", "", complete))


def _indexes(job: JobId) -> set[int] | None:
    """Return the array indexes; None: all of them, or no array."""
    if job.tasks is not None:
        return {*expand_indexes(job.tasks)}
    return None if job.task is None else {job.task}


def _all_messages(sent: Result) -> str:
    lines = [_PREFIX.sub("", line).strip() for line in sent.stderr.splitlines()]
    return "\n".join(line for line in lines if line)


def _failure(sent: Result, said: str) -> CommandFailed:
    """Return the error with all that scontrol said, which may be several lines."""
    fault = sent.failure()
    if not said:
        return fault
    return CommandFailed(f"scontrol: {said} (exit code {sent.exit_code})", **fault.details)
