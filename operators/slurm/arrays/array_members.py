"""The members of an array, each with its newest attempt: from the queue and from accounting."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from operators.slurm import accounting
from operators.slurm.accounting import ACCOUNTING_DELAYS, PastJob
from operators.slurm.arrays.array_record import ArrayRecord, Rerun, describes, read
from operators.slurm.job_types import UNFINISHED_STATES, Job
from operators.slurm.jobs.job_queue import QueuedJob, exit_codes, list_jobs
from operators.slurm.parsing import JobId, expand_indexes
from operators.slurm.reasons.job_reasons import reason_of_end
from resop import CommandFailed, DaemonUnavailable, InvalidOptions, JobNotFound, Shell

AnyTask = TypeVar("AnyTask", QueuedJob, PastJob)

UNKNOWN = "UNKNOWN"
"""The state of a member of which Slurm has no record."""
NO_RECORD = "Slurm has no record of this task: it was cancelled before it started, or is forgotten"


@dataclass(frozen=True, slots=True)
class ArrayMember:
    """A member of an array."""

    index: int
    array: int
    """The array of its newest attempt."""
    attempts: int
    job: Job | None
    """As the queue has it, or else the database; None if Slurm has no record of it."""
    past: PastJob | None
    """The same with what only the accounting database has, if that is the newer one."""
    exit_status: tuple[int | None, int | None]
    """Exit code and signal, where they are known."""

    @property
    def id(self) -> str:
        """The id of the array task."""
        return f"{self.array}_{self.index}"

    @property
    def state(self) -> str:
        """The state of the newest attempt."""
        return UNKNOWN if self.job is None else self.job["state"]

    @property
    def is_unfinished(self) -> bool:
        """True while the member waits or runs."""
        return self.state in UNFINISHED_STATES

    @property
    def reason(self) -> str | None:
        """Why it is pending, or why it failed."""
        if self.job is None:
            return NO_RECORD
        if self.is_unfinished:
            return self.job["reason"]
        return reason_of_end(self.state, *self.exit_status, self.job["reason"])


class ArrayMembers(NamedTuple):
    """An array, its record, and its members by index."""

    record: ArrayRecord | None
    reruns: list[Rerun]
    members: dict[int, ArrayMember]

    def chosen(self, indexes: str | None) -> list[ArrayMember]:
        """Return these members, or all. Raises InvalidOptions for an index that the array lacks."""
        if indexes is None:
            return list(self.members.values())
        wanted = dict.fromkeys(expand_indexes(indexes))
        if missing := [index for index in wanted if index not in self.members]:
            message = f"the array has no index {', '.join(map(str, missing[:20]))}"
            raise InvalidOptions.of("members", message)
        return [self.members[index] for index in wanted]


def read_members(
    shell: Shell, job: int, cluster: str | None, *, reruns: bool = True
) -> ArrayMembers:
    """Return the members of an array, each with its newest attempt among the reruns.

    JobNotFound: neither the queue nor the accounting database has a task of the array.
    """
    record, later = read(shell, job, cluster)
    later = later if reruns else []
    arrays = [job, *(rerun.job for rerun in later)]
    tasks, past = _read_tasks(shell, arrays)
    line = next((each["submit_line"] for each in past.values() if each["job"] == job), None)
    if record is not None and not describes(record, line):
        shell.log(f"the record of array {job} is of an earlier job with this number")
        record, later, arrays = None, [], [job]
    known = {index for array, index in tasks if array == job}
    if not known:
        message = f"there is no array {job}, neither in the queue nor in the accounting database"
        raise JobNotFound(message, id=str(job))
    recorded = record.request.indexes if record is not None else None
    attempts = {index: [job] for index in {*known, *expand_indexes(recorded or "")}}
    for rerun in later:
        for index in expand_indexes(rerun.indexes):
            attempts.setdefault(index, [job]).append(rerun.job)
    codes = _exit_codes(shell, tasks, past)
    members = {}
    for index, history in sorted(attempts.items()):
        at = (history[-1], index)
        task, accounted = tasks.get(at), past.get(at)
        status = codes.get(at, (None, None))
        own = accounted if task is accounted else None
        members[index] = ArrayMember(index, at[0], len(history), task, own, status)
    return ArrayMembers(record, later, members)


def _read_tasks(
    shell: Shell, arrays: Sequence[int]
) -> tuple[dict[tuple[int, int], Job], dict[tuple[int, int], PastJob]]:
    """Return the tasks of arrays by array and index: as they are now, and as accounting has them.

    The database is asked again for a few seconds while tasks that have ended are missing there.
    Without it, the queue must do.
    """
    targets = [JobId(array) for array in arrays]
    queued = _by_index(list_jobs(shell, "--states=all", ids=targets), arrays)
    ended = {at for at, job in queued.items() if job["state"] not in UNFINISHED_STATES}
    past: dict[tuple[int, int], PastJob] = {}
    for delay in (0.0, *ACCOUNTING_DELAYS):
        time.sleep(delay)
        try:
            past = _accounted(shell, arrays, queued)
        except (CommandFailed, DaemonUnavailable) as fault:
            if not queued:
                raise
            shell.log(f"using the queue instead of the accounting database: {fault.message}")
            break
        if ended <= past.keys():
            break
    tasks: dict[tuple[int, int], Job] = {**past}
    for at, job in queued.items():
        if at not in ended or at not in past:
            tasks[at] = job
    return tasks, past


def _accounted(
    shell: Shell, arrays: Sequence[int], queued: Mapping[tuple[int, int], QueuedJob]
) -> dict[tuple[int, int], PastJob]:
    """Return the tasks in the accounting database, without states that the queue contradicts."""
    numbers = ",".join(map(str, arrays))
    listed = reversed(accounting.list_past_jobs(shell, f"--jobs={numbers}"))
    jobs = accounting.drop_reused(listed, queued.values())
    # At first the database has an array task under its own number only.
    places = {job["raw_id"]: at for at, job in queued.items() if job["tasks"] is None}
    for job in jobs:
        if job["task"] is None and job["tasks"] is None and job["raw_id"] in places:
            job["job"], job["task"] = places[job["raw_id"]]
    # Only the queue knows which tasks of an array are still pending.
    certain = [job for job in jobs if not (job["tasks"] and job["state"] in UNFINISHED_STATES)]
    past = _by_index(certain, arrays)
    ended = {at for at, job in queued.items() if job["state"] not in UNFINISHED_STATES}
    is_late = {at for at in ended & past.keys() if past[at]["state"] in UNFINISHED_STATES}
    return {at: job for at, job in past.items() if at not in is_late}


def _by_index(jobs: Collection[AnyTask], arrays: Sequence[int]) -> dict[tuple[int, int], AnyTask]:
    """Return the tasks by array and index; pending tasks that share an entry one by one."""
    tasks: dict[tuple[int, int], AnyTask] = {}
    for job in jobs:
        if job["job"] not in arrays:
            continue
        if job["tasks"] is not None:
            for index in expand_indexes(job["tasks"]):
                tasks.setdefault((job["job"], index), job)
        elif job["task"] is not None:
            tasks[job["job"], job["task"]] = job
    return tasks


def _exit_codes(
    shell: Shell,
    tasks: Mapping[tuple[int, int], Job],
    past: Mapping[tuple[int, int], PastJob],
) -> dict[tuple[int, int], tuple[int | None, int | None]]:
    """Return exit codes and signals, from slurmctld for what the database does not have."""
    codes: dict[tuple[int, int], tuple[int | None, int | None]] = {
        at: (job["exit_code"], job["signal"]) for at, job in past.items() if tasks[at] is job
    }
    ended = {at for at, job in tasks.items() if job["state"] not in UNFINISHED_STATES}
    for array in sorted({array for array, _ in ended - codes.keys()}):
        try:
            found = exit_codes(shell, array)
        except DaemonUnavailable as fault:
            shell.log(f"exit codes are unknown: {fault.message}")
            break
        for at in ended - codes.keys():
            if at[0] == array:
                codes[at] = found.get(tasks[at]["raw_id"], (None, None))
    return codes
