"""Claims tasks: all that have come meanwhile in one transaction, so that they share its cost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from resop.errors import ResopError
from resop.messaging.batch_queue import BatchQueue
from resop.storage.models import ClaimedTask
from resop.storage.tasks import TaskStore

log = logging.getLogger(__name__)

GROUP = 100

Begin = Callable[[Sequence[ClaimedTask]], None]


class Claimer:
    """One thread that claims for the whole worker; `begin` is given what is to be run.

    `release` is called once for each task that is not to be run, or could not be claimed: such a
    one stays queued, and the recovery finds it.
    """

    def __init__(
        self, worker: str, tasks: TaskStore, begin: Begin, release: Callable[[], None]
    ) -> None:
        self._worker = worker
        self._tasks = tasks
        self._begin = begin
        self._release = release
        self._ids = BatchQueue[str]()
        self._thread = threading.Thread(target=self._work, name="claimer", daemon=True)

    def start(self) -> None:
        """Begin to claim."""
        self._thread.start()

    def put(self, task_id: str) -> None:
        """Have a task claimed."""
        self._ids.put(task_id)

    def stop(self) -> None:
        """Claim what was put, then stop."""
        self._ids.close()
        self._thread.join()

    def _work(self) -> None:
        for ids in self._ids.groups(GROUP):
            self._claim(ids)

    def _claim(self, ids: Sequence[str]) -> None:
        claimed: Sequence[ClaimedTask] = []
        try:
            claimed = self._tasks.claim_all(ids, self._worker)
        except ResopError as fault:
            log.warning("%d tasks wait: %s", len(ids), fault.message)
        except Exception:
            # This thread must not end.
            log.exception("%d tasks could not be claimed", len(ids))
        else:
            for task_id in set(ids) - {task.id for task in claimed}:
                log.warning("task %s: not queued any more, left alone", task_id)
        for _ in range(len(ids) - len(claimed)):
            self._release()
        if claimed:
            self._begin(claimed)
