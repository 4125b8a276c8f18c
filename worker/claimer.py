"""Claims queued tasks for this worker, several in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from resop.errors import ResopError
from resop.storage.group_committer import GroupCommitter
from resop.storage.models import ClaimedTask
from resop.storage.tasks import TaskStore

log = logging.getLogger(__name__)

MAX_CLAIMS = 100
"""Tasks claimed in one transaction."""

Begin = Callable[[Sequence[ClaimedTask]], None]


class Claimer:
    """One thread that claims tasks for the whole worker and passes them to `begin`.

    `release` is called once for each task that is not going to run here. A task that could not be
    claimed stays queued until the recovery publishes it again.
    """

    def __init__(
        self, worker: str, tasks: TaskStore, begin: Begin, release: Callable[[], None]
    ) -> None:
        self._worker = worker
        self._tasks = tasks
        self._begin = begin
        self._release = release
        self._committer = GroupCommitter("claimer", self._claim, max_items=MAX_CLAIMS)

    def start(self) -> None:
        """Start claiming."""
        self._committer.start()

    def put(self, task_id: str) -> None:
        """Queue a task to be claimed."""
        self._committer.put(task_id)

    def stop(self) -> None:
        """Claim the tasks that are queued, then stop."""
        self._committer.stop()

    def _claim(self, ids: Sequence[str]) -> None:
        claimed: Sequence[ClaimedTask] = []
        try:
            claimed = self._tasks.claim_all(ids, self._worker)
        except ResopError as fault:
            log.warning(
                "%d tasks could not be claimed and stay queued: %s", len(ids), fault.message
            )
        except Exception:
            log.exception("%d tasks could not be claimed and stay queued", len(ids))
        else:
            for task_id in set(ids) - {task.id for task in claimed}:
                log.warning("task %s: skipped, it is no longer queued", task_id)
        for _ in range(len(ids) - len(claimed)):
            self._release()
        if claimed:
            self._begin(claimed)
