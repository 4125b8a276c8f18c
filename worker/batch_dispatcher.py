"""Deals out the tasks of batches: a few in flight at a time, in turn, and behind all others.

However long a batch is, a task of its own overtakes it, and the next turn is another user's.
Runs in every worker; the record lets one of them deal at a time.
"""

from __future__ import annotations

import logging
import threading

from resop.errors import QueueUnavailable, RecordsUnavailable
from resop.messaging.publisher import EventPublisher
from resop.messaging.task_queue import TaskQueue
from resop.storage.batch_dispatch import dispatch_batches
from resop.storage.database import Database

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.02
"""The ends of so long are dealt for together."""


class BatchDispatcher:
    """A thread that deals out when it is woken; who wakes it in vain costs one small query."""

    def __init__(
        self, database: Database, queue: TaskQueue, herald: EventPublisher, places: int
    ) -> None:
        """`places` is how many tasks of batches are in flight at once on each cluster."""
        self._database = database
        self._queue = queue
        self._herald = herald
        self._places = places
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="dealer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Deal out nothing more; what was marked is handed over first."""
        self._stopping.set()
        self._woken.set()
        self._thread.join()

    def wake(self) -> None:
        """There may be something to deal out."""
        self._woken.set()

    def _work(self) -> None:
        while self._woken.wait() and not self._stopping.is_set():
            self._woken.clear()
            try:
                self.dispatch()
            except (RecordsUnavailable, QueueUnavailable) as fault:
                # Who is woken at the next beat tries again; what was marked and not handed over
                # is found by the recovery, like any task whose message was lost.
                log.warning("dealing waits: %s", fault.message)
            except Exception:
                log.exception("dealing: a fault of the service")
            self._stopping.wait(PAUSE_SECONDS)

    def dispatch(self) -> None:
        """Hand the tasks whose turn it is to the queue; tell of batches that have ended."""
        dealt = dispatch_batches(self._database, self._places)
        if self._queue.put_all(dealt.tasks, behind=True):
            raise QueueUnavailable
        if dealt.ended:
            self._herald.ended(dict.fromkeys(dealt.ended))
