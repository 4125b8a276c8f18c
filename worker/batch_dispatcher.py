"""Dispatches the tasks of batches: few at a time, in fair turns, and behind all other tasks.

However long a batch is, a single task overtakes it, and the next turn is another user's. Runs in
every worker; the database lets one of them dispatch at a time.
"""

from __future__ import annotations

import logging
import threading

from resop.errors import QueueUnavailable, RecordsUnavailable
from resop.messaging.messages import TaskEnded
from resop.messaging.publisher import EventPublisher
from resop.messaging.task_queue import TaskQueue
from resop.storage.batch_dispatch import dispatch_batches
from resop.storage.database import Database

log = logging.getLogger(__name__)

DEBOUNCE_SECONDS = 0.02
"""Task ends within this time trigger one dispatch."""


class BatchDispatcher:
    """A thread that dispatches when woken; waking it without need costs one small query."""

    def __init__(
        self, database: Database, queue: TaskQueue, publisher: EventPublisher, slots: int
    ) -> None:
        """Set up; `slots` limits the tasks of batches that are in flight on each cluster."""
        self._database = database
        self._queue = queue
        self._publisher = publisher
        self._slots = slots
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batch-dispatcher", daemon=True)

    def start(self) -> None:
        """Start dispatching."""
        self._thread.start()

    def stop(self) -> None:
        """Dispatch nothing more; tasks already marked as dispatched are queued first."""
        self._stopping.set()
        self._woken.set()
        self._thread.join()

    def wake(self) -> None:
        """Dispatch soon: a batch may have tasks to dispatch. Returns at once."""
        self._woken.set()

    def dispatch(self) -> None:
        """Queue the tasks whose turn it is and publish the batches that have ended."""
        dispatched = dispatch_batches(self._database, self._slots)
        if self._queue.put_all(dispatched.tasks, behind=True):
            raise QueueUnavailable
        if dispatched.ended:
            self._publisher.publish(*map(TaskEnded, dispatched.ended))

    def _work(self) -> None:
        while self._woken.wait() and not self._stopping.is_set():
            self._woken.clear()
            try:
                self.dispatch()
            except (RecordsUnavailable, QueueUnavailable) as fault:
                # The next heartbeat wakes this thread again. The recovery finds tasks that were
                # marked and not queued, like any task whose message was lost.
                log.warning("batch tasks could not be dispatched yet: %s", fault.message)
            except Exception:
                log.exception("batch dispatch: a fault of the service")
            self._stopping.wait(DEBOUNCE_SECONDS)
