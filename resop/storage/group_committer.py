"""Group commit: one thread commits the items of many callers together, in order of arrival."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

Item = TypeVar("Item")


class GroupCommitter(Generic[Item]):
    """A thread that commits all items that arrived while it was busy in one call.

    The callables run on that thread:

    - `commit` handles one group. If it raises and `reject` is given, the items are committed one by
      one, so that an item the database refuses does no harm to the others. Without `reject`, the
      fault is logged and the group is dropped.
    - `reject` handles an item whose own commit raised, and the exception.
    - `finish` is called once with the whole group, after `commit` and `reject`.
    - `poll` is called after each group and, when it returns a number, again after at most that many
      seconds even if nothing has arrived.
    """

    def __init__(
        self,
        name: str,
        commit: Callable[[Sequence[Item]], None],
        *,
        max_items: int,
        linger_seconds: float = 0.0,
        reject: Callable[[Item, Exception], None] | None = None,
        finish: Callable[[Sequence[Item]], None] | None = None,
        poll: Callable[[], float | None] | None = None,
    ) -> None:
        """Name the thread; an item that is not urgent waits at most `linger_seconds` for others."""
        self._commit = commit
        self._reject = reject
        self._finish = finish
        self._poll = poll
        self._max_items = max_items
        self._linger_seconds = linger_seconds
        self._items: deque[Item] = deque()
        self._ready = threading.Condition()
        self._urgent_items = 0
        """How many of the first items in the queue must not linger."""
        self._lingering = False
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; items that were put before are committed as well."""
        self._thread.start()

    def stop(self, timeout: float | None = None) -> bool:
        """Commit the remaining items and end the thread.

        Returns False if the thread is still busy after `timeout` seconds.
        """
        with self._ready:
            self._stopping = True
            self._ready.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def put(self, item: Item, *, urgent: bool = True) -> None:
        """Queue an item without waiting; an urgent one takes those before it along at once."""
        with self._ready:
            self._items.append(item)
            if urgent:
                self._urgent_items = len(self._items)
            # Waking the thread costs more than an item: while it lingers, let it sleep.
            if self._is_due() or not self._lingering:
                self._ready.notify()

    def _work(self) -> None:
        poll_after: float | None = None
        while self._items or not self._stopping:
            group = self._next_group(poll_after)
            # This thread must not end, whatever the callables raise.
            try:
                if group:
                    self._commit_group(group)
                    if self._finish is not None:
                        self._finish(group)
                poll_after = self._poll() if self._poll is not None else None
            except Exception:
                log.exception("%s: a fault of the service", self._thread.name)

    def _next_group(self, poll_after: float | None) -> list[Item]:
        """Wait for items, at most `poll_after` seconds; empty if none has arrived by then."""
        with self._ready:
            self._ready.wait_for(self._has_work, poll_after)
            if self._items and not self._is_due():
                self._lingering = True
                self._ready.wait_for(self._is_due, self._linger_seconds)
                self._lingering = False
            group = [self._items.popleft() for _ in range(min(len(self._items), self._max_items))]
            self._urgent_items = max(0, self._urgent_items - len(group))
            return group

    def _has_work(self) -> bool:
        return bool(self._items) or self._stopping

    def _is_due(self) -> bool:
        return self._urgent_items > 0 or self._stopping or len(self._items) >= self._max_items

    def _commit_group(self, group: Sequence[Item]) -> None:
        try:
            self._commit(group)
        except Exception as fault:
            if self._reject is None:
                raise
            if len(group) > 1:
                for item in group:
                    self._commit_group([item])
            else:
                self._reject_item(group[0], fault, self._reject)

    def _reject_item(
        self, item: Item, fault: Exception, reject: Callable[[Item, Exception], None]
    ) -> None:
        try:
            reject(item, fault)
        except Exception:
            # The other items are still to be committed.
            log.exception("%s: a fault of the service", self._thread.name)
