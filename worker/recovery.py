"""Puts right what a fault has left: tasks of a dead worker, messages that Redis has lost.

Runs in every worker; each statement is a condition in the database, so several may do the same.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

from resop.errors import ContactLost, QueueUnavailable, RecordsUnavailable, SessionExpired
from resop.messaging.publisher import EventPublisher
from resop.messaging.task_queue import TaskQueue
from resop.storage.database import Database
from resop.storage.models import State, now
from resop.storage.tasks import TaskStore
from resop.storage.workers import WorkerStore

log = logging.getLogger(__name__)

BEAT_SECONDS = 10
DEAD_SECONDS = 35
FORGOTTEN_SECONDS = 20
MOST_HAND_OVERS = 10
"""A task that every worker dies of must come to an end."""
AT_ONCE = 500


def left_undone(pending_undo: Sequence[str] | None) -> list[str]:
    """What a person has to look at after a worker died that would have undone its steps."""
    return [f"{line}: not run, the worker died" for line in reversed(pending_undo or ())]


class Recovery:
    """A thread that says that this worker is alive, and looks after what others left."""

    def __init__(
        self,
        worker: str,
        database: Database,
        queue: TaskQueue,
        herald: EventPublisher,
        chores: Sequence[Callable[[], None]],
    ) -> None:
        """`chores` are what else is to be done at every beat; each is short."""
        self._worker = worker
        self._tasks, self._workers = TaskStore(database), WorkerStore(database)
        self._queue = queue
        self._herald = herald
        self._chores = chores
        self._last_beat = self._unbroken_since = now()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="recovery", daemon=True)

    def start(self) -> None:
        """Begin; the first heartbeat is written before this returns."""
        self._workers.heartbeat(self._worker)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and say that this worker is no more."""
        self._stopping.set()
        self._thread.join()
        try:
            self._workers.delete(self._worker)
        except RecordsUnavailable:
            log.warning("the end of this worker is not recorded: the database is away")

    def _work(self) -> None:
        while not self._stopping.wait(BEAT_SECONDS):
            try:
                if self._beat():
                    self.end_orphans()
                    self.end_unheld()
                self.enqueue_forgotten()
                for chore in self._chores:
                    chore()
            except (RecordsUnavailable, QueueUnavailable) as fault:
                log.warning("recovery waits: %s", fault.message)
            except Exception:
                # A worker without a heartbeat is taken for dead, and its tasks for lost.
                log.exception("recovery: a fault of the service")

    def _beat(self) -> bool:
        """Say that this worker is alive; tell whether others that are silent must be dead.

        After the database was away, or the machine asleep, they may only not have had their turn.
        """
        self._workers.heartbeat(self._worker)
        last, self._last_beat = self._last_beat, now()
        if self._last_beat - last > timedelta(seconds=2 * BEAT_SECONDS):
            self._unbroken_since = self._last_beat
        return self._last_beat - self._unbroken_since >= timedelta(seconds=DEAD_SECONDS)

    def end_orphans(self) -> None:
        """The running tasks of a worker that is no longer heard of.

        Those whose steps survive are for another one to take up; the others are lost.
        """
        lost, left = [], []
        for orphan in self._workers.orphans(now() - timedelta(seconds=DEAD_SECONDS)):
            if orphan.resume_count is not None and orphan.resume_count < MOST_HAND_OVERS:
                if self._workers.hand_off(orphan.id, orphan.worker):
                    log.warning("task %s is to be taken up: its worker died", orphan.id)
                    left.append(orphan)
                continue
            fault = ContactLost(
                "the worker that ran this task died: nobody knows how far its last step came; "
                "no later step was sent"
            )
            # Whether the step that each of them belongs to was run, a person has to look.
            needs_repair = left_undone(orphan.pending_undo)
            error = {**fault.as_json(), "undone": [], "needs_repair": needs_repair}
            if self._tasks.end(orphan.id, State.LOST, error=error):
                log.warning("task %s is lost: its worker died", orphan.id)
                lost.append(orphan.id)
        if lost:
            self._herald.ended(dict.fromkeys(lost))
        for orphan in left:
            self._queue.put(orphan.id, orphan.cluster)

    def enqueue_forgotten(self) -> None:
        """Tasks that wait although nothing stands in their queue are put there again.

        One that is enqueued twice by this runs once: its claim has one winner.
        """
        waiting = self._workers.waiting_tasks(now() - timedelta(seconds=FORGOTTEN_SECONDS), AT_ONCE)
        queues = {(cluster, worker) for _, cluster, worker in waiting}
        empty = {each for each in queues if self._queue.length(*each) == 0}
        lost = [each for each in waiting if each[1:] in empty]
        for task_id, *_ in lost:
            log.warning("task %s is enqueued again: its message was lost", task_id)
        if self._queue.put_all(lost):
            raise QueueUnavailable

    def end_unheld(self) -> None:
        """What waits for a worker that kept its user's session, and is dead, cannot run."""
        error = {**SessionExpired().as_json(), "undone": [], "needs_repair": []}
        if count := self._workers.end_unheld(now() - timedelta(seconds=DEAD_SECONDS), error):
            log.warning("%d tasks cannot run: the worker that kept their sessions died", count)
            self._herald.many_ended()
