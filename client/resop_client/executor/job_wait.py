"""Wait for jobs on the service: one task of `slurm:wait` for all of them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from resop_client.errors import ResopError

if TYPE_CHECKING:
    from resop_client._sync.client import Resop
    from resop_client._sync.tasks import Task

LOOK_SECONDS = 1.0
WAIT_SECONDS = 86_400.0
"""As long as `slurm:wait` waits at most."""
MAX_JOBS = 1000


class Look(NamedTuple):
    """The changes since the last look."""

    outcomes: Sequence[dict[str, Any]] | None = None
    """Each job, if the wait is over: one of them has ended, or can only wait."""
    ended_tasks: int | None = None
    """How many tasks of the jobs have ended, if that has changed."""


class JobWait:
    """The task that waits for jobs; another one when there are others."""

    def __init__(self, hpc: Resop, cluster: str | None) -> None:
        """Wait for jobs of one cluster of Slurm."""
        self._hpc = hpc
        self._cluster = cluster
        self._task: Task | None = None
        self._jobs: tuple[int, ...] = ()
        self._ended: int | None = None

    def look(self, jobs: Sequence[int]) -> Look:
        """Wait for a second at most, and return what has changed.

        Raises JobNotFound if Slurm knows one of the jobs no longer, and ActionError if the wait
        failed; the next look begins another one.
        """
        task = self._task_for(tuple(jobs[:MAX_JOBS]))
        task.refresh(LOOK_SECONDS)
        if task.ended:
            self._task = None
            return Look(task.result()["jobs"])
        ended = (task.body["progress"] or {}).get("done")
        changed, self._ended = ended != self._ended, ended
        return Look(None, ended if changed else None)

    def _task_for(self, jobs: tuple[int, ...]) -> Task:
        if self._jobs != jobs:
            with contextlib.suppress(ResopError):  # it ends by itself
                self.cancel()
        if self._task is None:
            self._task = self._hpc.start(
                "slurm.wait",
                ids=[str(job) for job in jobs],
                until="any",
                timeout=WAIT_SECONDS,
                cluster=self._cluster,
            )
            self._jobs, self._ended = jobs, None
        return self._task

    def cancel(self) -> None:
        """Cancel the task: nobody waits any more."""
        if self._task is not None:
            old, self._task = self._task, None
            old.cancel(wait=0)
