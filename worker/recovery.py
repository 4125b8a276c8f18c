"""Repairs what faults leave behind: tasks of dead workers, and messages that Redis lost.

Runs in every worker. Each statement is conditional in the database, so several workers may run it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from resop.errors import (
    ContactLost,
    QueueUnavailable,
    RecordRefused,
    RecordsUnavailable,
    SessionExpired,
)
from resop.messaging.messages import Resync, TaskEnded
from resop.messaging.publisher import EventPublisher
from resop.messaging.task_queue import TaskQueue
from resop.steps.undo import read_records, report
from resop.storage.database import Database
from resop.storage.models import State, now
from resop.storage.tasks import TaskStore
from resop.storage.workers import DEAD_SECONDS, Orphan, WorkerStore
from worker.heartbeats import HEARTBEAT_SECONDS, Heartbeat, HeartbeatWatch

log = logging.getLogger(__name__)

INTERVAL_SECONDS = HEARTBEAT_SECONDS
"""Pause between two rounds of the repairs."""
LOST_MESSAGE_SECONDS = 20
"""A task queued for this long, in a queue without messages, has lost its message."""
MAX_RESUMES = 10
"""A task during which every worker dies must come to an end."""
FORGET_SECONDS = 3600
"""The row of a worker that has been dead for this long is deleted."""
MAX_REQUEUED = 500
"""Tasks queued again in one round."""


class Recovery:
    """A thread that cleans up after dead workers, and after a Redis that lost messages."""

    def __init__(
        self,
        worker: str,
        heartbeat: Heartbeat,
        database: Database,
        queue: TaskQueue,
        publisher: EventPublisher,
        chores: Sequence[Callable[[], None]],
    ) -> None:
        """Set up; each of the `chores` is called in every round and must be short."""
        self._worker = worker
        self._heartbeat = heartbeat
        self._tasks, self._workers = TaskStore(database), WorkerStore(database)
        self._queue = queue
        self._publisher = publisher
        self._chores = chores
        self._heartbeats = HeartbeatWatch()
        self._looked_at = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="recovery", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop when the present round has ended."""
        self._stopping.set()
        self._thread.join()

    def end_orphans(self, dead: Sequence[str]) -> None:
        """End the running tasks of dead workers, or queue the tasks that can be resumed."""
        lost, resumable = [], []
        for orphan in self._workers.orphans(dead):
            if orphan.resume_count is not None and orphan.resume_count < MAX_RESUMES:
                if self._workers.hand_off(orphan.id, orphan.worker):
                    log.warning("task %s: its worker died, another one will resume it", orphan.id)
                    resumable.append(orphan)
            elif self._end_lost(orphan):
                log.warning("task %s: lost, its worker died", orphan.id)
                lost.append(orphan.id)
        if lost:
            self._publisher.publish(*map(TaskEnded, lost))
        for orphan in resumable:
            self._queue.put(orphan.id, orphan.cluster)

    def _end_lost(self, orphan: Orphan) -> bool:
        """Record that a task is lost; return False if it has ended meanwhile."""
        fault = ContactLost(
            "the worker that ran this task died: nobody knows how far its last step came"
            f"{self._last_step(orphan.id)}; no later step was sent"
        )
        # The records stay in the database, for a repair.
        found = report(read_records(orphan.pending_undo))
        error = {**fault.as_json(), **found.as_json()}
        try:
            return self._tasks.end(orphan.id, State.LOST, error=error)
        except RecordRefused as refused:
            error["needs_repair"] = [f"its undo steps are not recorded: {refused.message}"]
            error.pop("repair", None)
            return self._tasks.end(orphan.id, State.LOST, error=error)

    def _last_step(self, task_id: str) -> str:
        """Return words about the last step that is recorded, if its end is not."""
        steps = self._tasks.steps(task_id, output=False)
        if not steps or steps[-1].seconds is not None or steps[-1].error is not None:
            return ""
        return f" (the last one on record is {steps[-1].number}: {steps[-1].command})"

    def requeue_lost(self) -> None:
        """Queue again the waiting tasks whose queue has no message.

        A task that is queued twice by this runs once: one worker wins the claim.
        """
        waiting = self._workers.waiting_tasks(
            now() - timedelta(seconds=LOST_MESSAGE_SECONDS), MAX_REQUEUED
        )
        queues = {(cluster, worker) for _, cluster, worker in waiting}
        empty = {each for each in queues if self._queue.length(*each) == 0}
        lost = [each for each in waiting if each[1:] in empty]
        for task_id, *_ in lost:
            log.warning("task %s: enqueued again, its message was lost", task_id)
        if self._queue.put_all(lost):
            raise QueueUnavailable

    def end_unheld(self, dead: Sequence[str]) -> None:
        """End the tasks that wait for a dead worker, which held their user's session."""
        error = {**SessionExpired().as_json(), "undone": [], "needs_repair": []}
        if count := self._workers.end_unheld(dead, error):
            log.warning("%d tasks cannot run: the worker that held their sessions died", count)
            self._publisher.publish(Resync())

    def _work(self) -> None:
        while not self._stopping.wait(INTERVAL_SECONDS):
            try:
                self._look()
                if dead := self._heartbeats.silent(DEAD_SECONDS):
                    self.end_orphans(dead)
                    self.end_unheld(dead)
                if gone := self._heartbeats.silent(FORGET_SECONDS):
                    self._workers.delete(*gone)
                self.requeue_lost()
                for chore in self._chores:
                    chore()
            except (RecordsUnavailable, QueueUnavailable) as fault:
                log.warning("recovery is retried in the next round: %s", fault.message)
            except Exception:
                log.exception("recovery: a fault of the service")

    def _others(self) -> dict[str, datetime | None]:
        """Return the last heartbeat of each other worker."""
        heartbeats = self._workers.heartbeats()
        heartbeats.pop(self._worker, None)
        return heartbeats

    def _look(self) -> None:
        """Look at the heartbeats of the others.

        After the database was unavailable or this process stopped, they may not have had their
        turn: their silence counts from now on.
        """
        present = time.monotonic()
        if present - min(self._looked_at, self._heartbeat.written_at) > 2 * INTERVAL_SECONDS:
            self._heartbeats.forget()
        self._heartbeats.look(self._others)
        self._looked_at = present
