"""Writes the changes of running tasks: many in one transaction, in order, without loss.

A task's end is published only after it is in the database. While the database is unavailable,
changes wait in memory and are retried.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from sqlalchemy.exc import IntegrityError

from resop.errors import QueueUnavailable, RecordRefused, RecordsUnavailable, ResopError
from resop.messaging.messages import TaskEnded, TasksChanged
from resop.messaging.publisher import EventPublisher
from resop.storage.changes import Change
from resop.storage.group_committer import GroupCommitter
from resop.storage.tasks import TaskStore

log = logging.getLogger(__name__)

MAX_CHANGES = 200
"""Changes written in one transaction."""
LINGER_SECONDS = 0.05
"""How long a change may wait for others, so that a short operation's steps and its end become one
transaction."""
PUBLISH_INTERVAL = 0.1
"""Least time between two messages about changed tasks, in seconds. A busy worker has a change at
any time, and for tasks that have ended meanwhile nothing remains to publish."""
RETRY_SECONDS = 0.5
"""Pause before the next attempt while the database is unavailable."""
SUSPECT_SECONDS = 10.0
"""How long one change may fail with an unknown error, or break the connection, while the database
takes other writes."""


@dataclass(slots=True)
class _Entry:
    change: Change
    ended_task: str | None = None
    written: Future[None] = field(default_factory=Future)
    refusal: Exception | None = None
    is_late: bool = False
    """True for the end of a task that was taken while this worker was silent: ended as lost, or
    resumed by another."""


class RecordWriter:
    """One thread that writes for the whole worker."""

    def __init__(
        self,
        worker: str,
        tasks: TaskStore,
        publisher: EventPublisher,
        *,
        max_changes: int = MAX_CHANGES,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        self._worker = worker
        self._tasks = tasks
        self._publisher = publisher
        self._changed_tasks: set[str] = set()
        self._published_at = 0.0
        self._committer = GroupCommitter[_Entry](
            "record-writer",
            self._apply,
            max_items=max_changes,
            linger_seconds=linger_seconds,
            reject=self._reject,
            finish=self._publish_ends,
            poll=self._publish_changes,
        )

    def start(self) -> None:
        """Start writing."""
        self._committer.start()

    def stop(self, seconds: float) -> None:
        """Write the remaining changes, for at most `seconds`."""
        if not self._committer.stop(seconds):
            log.error("stopped with unwritten changes: the database does not answer")

    def write_soon(self, change: Change) -> Future[None]:
        """Write a change with the next urgent one, or after 50 ms.

        The future completes when the change is in the database. It raises RecordRefused if the
        database cannot store the change.
        """
        return self._put(_Entry(change), urgent=False)

    def write_now(self, change: Change) -> Future[None]:
        """Write a change immediately; the future completes when it is in the database."""
        return self._put(_Entry(change))

    def write_end(self, task_id: str, change: Change) -> Future[None]:
        """Write a task's end immediately, then publish it; the future completes after that."""
        return self._put(_Entry(change, ended_task=task_id))

    def _put(self, entry: _Entry, *, urgent: bool = True) -> Future[None]:
        self._committer.put(entry, urgent=urgent)
        return entry.written

    def _apply(self, group: Sequence[_Entry]) -> None:
        """Write a group; while the database is unavailable, retry and drop nothing."""
        changes = [entry.change for entry in group]
        patience = SUSPECT_SECONDS if len(group) == 1 else 0.0
        began = time.monotonic()
        while True:
            try:
                late = self._tasks.apply(changes, self._worker)
                for entry in group:
                    entry.is_late = entry.change in late
                return
            except RecordsUnavailable as fault:
                log.warning("%d changes wait: %s", len(changes), fault.__cause__ or fault)
                is_suspect = fault.suspect and time.monotonic() - began >= patience
                if is_suspect and self._takes_others():
                    raise
                time.sleep(RETRY_SECONDS)

    def _takes_others(self) -> bool:
        """Return True if the database is writable, so that a change itself may be the fault."""
        try:
            self._tasks.check()
        except RecordsUnavailable:
            return False
        return True

    def _reject(self, entry: _Entry, fault: Exception) -> None:
        """Record what the database takes of a change that it refuses; a task ends in any case."""
        if isinstance(fault, IntegrityError):
            return  # an attempt whose answer was lost has written it
        known = isinstance(fault, ResopError)
        reason = fault.message if isinstance(fault, ResopError) else "an error of the service"
        log.error("task %s: %s", entry.change.task, reason, exc_info=None if known else fault)
        for smaller in entry.change.smaller(reason):
            replacement = _Entry(smaller)
            try:
                self._apply([replacement])
            except ResopError as another:
                log.error("task %s: %s", entry.change.task, another.message)
                continue
            entry.change, entry.is_late = smaller, replacement.is_late
            return
        entry.refusal = RecordRefused(reason)

    def _publish_ends(self, group: Sequence[_Entry]) -> None:
        ended = {
            entry.ended_task: entry
            for entry in group
            if entry.ended_task is not None and entry.refusal is None
        }
        try:
            if ended:
                self._publisher.publish(*map(_message, ended.values()))
        except QueueUnavailable:
            log.warning("the end of %d tasks was not published: Redis is unavailable", len(ended))
        for entry in group:
            if entry.refusal is None:
                entry.written.set_result(None)
            else:
                entry.written.set_exception(entry.refusal)
        self._changed_tasks |= {entry.change.task for entry in group}
        self._changed_tasks -= ended.keys()

    def _publish_changes(self) -> float | None:
        """Publish the changed running tasks; return the seconds to wait if it is too early."""
        if not self._changed_tasks:
            return None
        early = self._published_at + PUBLISH_INTERVAL - time.monotonic()
        if early > 0:
            return early
        changed, self._changed_tasks = self._changed_tasks, set()
        self._published_at = time.monotonic()
        try:
            self._publisher.publish(TasksChanged(list(changed)))
        except QueueUnavailable:
            log.debug("changes were not published: Redis is unavailable")
        return None


def _message(entry: _Entry) -> TaskEnded:
    """Return the message about a task that has ended; without a result that is not recorded."""
    change = entry.change
    username, cluster = change.owner
    result = None if entry.is_late else change.result
    return TaskEnded(change.task, username, cluster, change.read_only, result)
