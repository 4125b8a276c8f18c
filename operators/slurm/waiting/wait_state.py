"""Track the jobs of a wait: their entries in the queue, and entries that have left it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from operators.slurm import accounting
from operators.slurm.job_types import JobEntry
from operators.slurm.jobs.job_outcome import (
    KnownJob,
    count_tasks,
    group_by_number,
    select,
    unfinished,
)
from operators.slurm.jobs.job_queue import list_jobs
from operators.slurm.parsing import JobId
from operators.slurm.reasons.job_reasons import never_starts
from operators.slurm.waiting.job_watch import look
from resop import ContactLost, DaemonUnavailable, Shell
from resop.errors import ClusterError, ClusterUnreachable

FIRST_PAUSE = 0.5
MAX_PAUSE = 15.0
LOOK_SECONDS = 60
"""How long a look lasts at most while nothing changes."""
MAX_BREAKS = 3
"""Looks in a row that may be lost with their connection."""


class WaitState:
    """The jobs of a wait as last seen. Its steps depend on nothing but recorded results."""

    def __init__(self, shell: Shell, targets: Sequence[JobId]) -> None:
        """Read the jobs from the queue, or from the database what has left it."""
        self._shell = shell
        queue = list_jobs(shell, "--states=all", ids=targets)
        groups = group_by_number(queue)
        self._targets = [_by_index(target, groups.get(target.job, ())) for target in targets]
        self._several_partitions = {job["job"] for job in queue if "," in job["partition"]}
        self._left: set[JobId] = set()
        """The jobs that have left the queue, and have ended for the database."""
        self._only_in_database = False
        self._totals = dict.fromkeys(self._targets, 0)
        self._pause, self._checksum, self._breaks = FIRST_PAUSE, "", 0
        self._first_time: int | None = None
        self._time = 0
        self._fault: DaemonUnavailable | None = None
        self._entries: list[JobEntry] = []
        self._looked = False
        self.jobs: list[KnownJob] = []
        """Each job as it is known."""
        self.unknown: list[int] = []
        """The positions of jobs that neither the queue nor the database has."""
        self._set([*queue])

    def is_over(self, until: Literal["all", "any"]) -> bool:
        """Return True if there is nothing left to wait for.

        States that looks have found are confirmed by a last listing, which knows more.
        """
        if self._fault is not None or not self._settled(until):
            return False
        if self._looked:
            self._looked = False
            try:
                self._merge([*list_jobs(self._shell, "--states=all", ids=self._targets)])
            except DaemonUnavailable as fault:
                self._shell.log(f"using the states last seen: {fault.message}")
        return self._settled(until)

    def time_left(self, timeout: float, began: float) -> float:
        """Return the seconds left of a wait that `began` by this machine's monotonic clock.

        The clock of the login node counts, since a wait that is resumed must ask the same again;
        if it jumps back, this machine's ends the wait. Raises DaemonUnavailable if no time is left
        and the queue could not be read last.
        """
        left = self._left_by_node(timeout)
        if time.monotonic() - began > timeout + 2 * LOOK_SECONDS:
            left = 0
        if left <= 0 and self._fault is not None:
            raise self._fault
        return left

    def look(self, timeout: float) -> None:
        """Return when states have changed, or after a minute."""
        left = self._left_by_node(timeout)
        pause = min(self._pause, left)
        # The queue does not tell that a job has ended which only the database has.
        limit = 0 if self._only_in_database else int(min(LOOK_SECONDS, left - pause))
        numbers = sorted({target.job for target in self._targets})
        try:
            seen = look(self._shell, numbers, pause=pause, limit=limit, known=self._checksum)
        except (ClusterUnreachable, ContactLost, DaemonUnavailable) as fault:
            self._note_break(fault, pause)
            return
        self._breaks = 0
        self._pause = min(self._pause * 1.5, MAX_PAUSE)
        self._first_time = seen.time - int(pause) if self._first_time is None else self._first_time
        self._time, self._checksum, self._fault = seen.time, seen.checksum, seen.fault
        if seen.fault is not None:
            self._shell.log(f"still waiting: {seen.fault.message}")
            return
        self._looked = True
        try:
            self._merge(seen.jobs)
        except DaemonUnavailable as fault:
            self._fault = fault
            self._shell.log(f"still waiting: {fault.message}")

    def _note_break(self, fault: ClusterError | DaemonUnavailable, pause: float) -> None:
        """Log that a look failed. Raises the fault if several in a row did."""
        self._breaks += 1
        if self._breaks > MAX_BREAKS:
            raise fault
        self._shell.log(f"still waiting: {fault.message}")
        time.sleep(pause)

    def _left_by_node(self, timeout: float) -> float:
        return timeout - (0 if self._first_time is None else self._time - self._first_time)

    def _settled(self, until: Literal["all", "any"]) -> bool:
        return (all if until == "all" else any)(map(self._is_settled, self.jobs))

    def _is_settled(self, job: KnownJob) -> bool:
        """Return True if the job has ended, or can only wait."""
        return all(
            never_starts(
                entry["reason"], several_partitions=entry["job"] in self._several_partitions
            )
            for entry in unfinished(job.queue)
        )

    def _merge(self, now: list[JobEntry]) -> None:
        """Take what the queue has now, with ended entries that have left it."""
        ids = {job["id"] for job in now}
        gone = [job for job in self._entries if job["id"] not in ids and not unfinished([job])]
        self._set([*now, *gone])

    def _set(self, entries: list[JobEntry]) -> None:
        self._entries = entries
        groups = group_by_number(entries)
        known = {target: select(groups.get(target.job, ()), target) for target in self._targets}
        absent = [each for each in self._targets if not known[each] and each not in self._left]
        known |= self._unfinished_in_database(absent)
        for target, jobs in known.items():
            self._totals[target] = max(self._totals[target], count_tasks(jobs))
        self.jobs = [KnownJob(each, known[each], self._totals[each]) for each in self._targets]
        remaining = sum(count_tasks(unfinished(job.queue)) for job in self.jobs)
        total = sum(self._totals.values())
        self._shell.progress(total - remaining, max(total, 1))

    def _unfinished_in_database(self, targets: Sequence[JobId]) -> dict[JobId, list[JobEntry]]:
        """Return the unfinished jobs that only the database has, and note the others as ended."""
        self._only_in_database = False
        if not targets:
            return {}
        numbers = ",".join(map(str, sorted({target.job for target in targets})))
        past = accounting.list_past_jobs(self._shell, f"--jobs={numbers}")
        groups = group_by_number(unfinished(past))
        found: dict[JobId, list[JobEntry]] = {}
        for target in targets:
            jobs = select(groups.get(target.job, ()), target)
            # Only the queue knows which tasks of an array are still pending.
            found[target] = [job for job in jobs if job["tasks"] is None]
            if not found[target]:
                self._left.add(target)
        self._only_in_database = any(found.values())
        known = group_by_number(past)
        gone = [each for each in targets if not select(known.get(each.job, ()), each)]
        self.unknown = [self._targets.index(each) for each in gone]
        return found


def _by_index(target: JobId, jobs: Sequence[JobEntry]) -> JobId:
    """Return the array task of Slurm's own number for it, by which looks do not find it."""
    named = [job for job in jobs if job["job"] != target.job and job["task"] is not None]
    return JobId(named[0]["job"], named[0]["task"]) if len(named) == 1 else target
