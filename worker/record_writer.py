"""Writes what workers have to record: many changes in one transaction, in order, none lost.

A task's end is told to those who wait only after it is in the database. While the database is
away changes are kept and tried again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

from resop.errors import QueueUnavailable, RecordsUnavailable, ServiceFault
from resop.messaging.publisher import EventPublisher
from resop.storage.changes import Change
from resop.storage.models import State
from resop.storage.tasks import TaskStore

log = logging.getLogger(__name__)

GROUP = 200
LINGER_SECONDS = 0.05
"""A short operation's steps and its end become one transaction."""
TELL_SECONDS = 0.1
"""Those who watch running tasks are told of changes as often: a busy worker has one at any time,
and of tasks that have ended meanwhile nothing is left to tell."""
PAUSE_SECONDS = 0.5


@dataclass(slots=True)
class _Entry:
    change: Change
    at_once: bool = False
    ended: str | None = None
    written: Future[None] = field(default_factory=Future)


class RecordWriter:
    """One thread that writes for the whole worker."""

    def __init__(self, tasks: TaskStore, herald: EventPublisher) -> None:
        self._tasks = tasks
        self._herald = herald
        self._entries: deque[_Entry] = deque()
        self._ready = threading.Condition()
        self._hurries = False
        self._lingers = False
        self._stops = False
        self._changed: set[str] = set()
        self._told_at = 0.0
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Write what is left, for at most `seconds`."""
        with self._ready:
            self._stops = True
            self._ready.notify()
        self._thread.join(seconds)
        if self._thread.is_alive():
            log.error("stopped with unwritten changes: the database does not answer")

    def write_soon(self, change: Change) -> Future[None]:
        """Write a change soon: with the next end, or after a moment; done when it is written."""
        return self._put(_Entry(change))

    def write_now(self, change: Change) -> Future[None]:
        """Write a change at once; done when it is written."""
        return self._put(_Entry(change, at_once=True))

    def write_end(self, task_id: str, change: Change) -> Future[None]:
        """Write a task's end, then tell those who wait; done when it is written."""
        return self._put(_Entry(change, at_once=True, ended=task_id))

    def _put(self, entry: _Entry) -> Future[None]:
        with self._ready:
            self._entries.append(entry)
            self._hurries |= entry.at_once
            # To wake the thread costs more than to write an entry: one that lingers is let be.
            if self._is_due() or not self._lingers:
                self._ready.notify()
        return entry.written

    def _work(self) -> None:
        while self._entries or not self._stops:
            if group := self._next():
                self._write(group)
            self._tell_changed()

    def _next(self) -> list[_Entry]:
        """What is to be written together; empty when there is something to do without."""
        with self._ready:
            self._ready.wait_for(self._is_any, LINGER_SECONDS if self._changed else None)
            if not self._entries:
                return []
            self._lingers = True
            self._ready.wait_for(self._is_due, LINGER_SECONDS)
            self._lingers = False
            group = [self._entries.popleft() for _ in range(min(len(self._entries), GROUP))]
            self._hurries = any(each.at_once for each in self._entries)
            return group

    def _is_any(self) -> bool:
        return bool(self._entries) or self._stops

    def _is_due(self) -> bool:
        return self._hurries or self._stops or len(self._entries) >= GROUP

    def _write(self, group: list[_Entry]) -> None:
        try:
            self._apply([entry.change for entry in group])
        except Exception:
            # The database or its driver (which raises what it likes) refuses one of them for what
            # it holds: the others must not suffer, and this thread must not end.
            if len(group) > 1:
                for entry in group:
                    self._write([entry])
                return
            log.exception("the database refuses a change")
            self._end_without_result(group[0])
        self._tell(group)

    def _apply(self, changes: list[Change]) -> None:
        """Write, as often as it takes: while the database is away nothing is dropped."""
        while True:
            try:
                self._tasks.apply(changes)
                return
            except RecordsUnavailable as fault:
                log.warning("%d changes wait: %s", len(changes), fault.__cause__ or fault)
                time.sleep(PAUSE_SECONDS)

    def _end_without_result(self, entry: _Entry) -> None:
        """A task whose result cannot be kept has still ended, and says so."""
        if entry.ended is not None:
            fault = ServiceFault("its result could not be recorded; the worker's log has more")
            error = {**fault.as_json(), "undone": [], "needs_repair": []}
            entry.change = Change.ended(entry.ended, State.FAILED, error=error)
            self._apply([entry.change])

    def _tell(self, group: list[_Entry]) -> None:
        ended = {entry.ended: entry.change for entry in group if entry.ended is not None}
        try:
            if ended:
                self._herald.ended(
                    {task: change.result for task, change in ended.items()},
                    {task: change.whose for task, change in ended.items()},
                )
        except QueueUnavailable:
            log.warning("nobody was told that %d tasks ended: Redis is away", len(ended))
        for entry in group:
            entry.written.set_result(None)
        self._changed |= {entry.change.task for entry in group}
        self._changed -= ended.keys()

    def _tell_changed(self) -> None:
        if not self._changed or time.monotonic() < self._told_at + TELL_SECONDS:
            return
        changed, self._changed = self._changed, set()
        self._told_at = time.monotonic()
        try:
            self._herald.changed(changed)
        except QueueUnavailable:
            log.debug("nobody was told of changes: Redis is away")
