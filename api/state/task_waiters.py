"""Wake the requests that wait for a task to end."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from resop.messaging.messages import Resync, TaskEnded
from resop.storage.models import State

_END_STATES = [state for state in State if state.ended]


class CompletionWaiter:
    """One request that waits for the end of a task or batch."""

    def __init__(self) -> None:
        self._wakeup = asyncio.Event()
        self.result: dict[str, Any] | None = None
        """The columns of the ended task, if they came with the message."""

    def on_end(self, result: dict[str, Any] | None) -> None:
        """Wake the request: the task has ended, or may have."""
        if result is not None:
            self.result = result
        self._wakeup.set()

    async def wait(self, seconds: float) -> None:
        """Return when the task may have ended, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wakeup.wait()
        self._wakeup.clear()


class CompletionWaiters:
    """The waiting requests of one API process, by task or batch."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[CompletionWaiter]] = defaultdict(set)

    @contextlib.contextmanager
    def waiting(self, task_id: str) -> Iterator[CompletionWaiter]:
        """Register a waiter for the end of a task or batch."""
        waiter = CompletionWaiter()
        self._waiting[task_id].add(waiter)
        try:
            yield waiter
        finally:
            self._waiting[task_id].discard(waiter)
            if not self._waiting[task_id]:
                del self._waiting[task_id]

    def on_task_ended(self, message: TaskEnded | Resync) -> None:
        """Wake the waiters of this task; all waiters for Resync."""
        if isinstance(message, Resync):
            for waiters in self._waiting.values():
                for waiter in waiters:
                    waiter.on_end(None)
            return
        result = final_result(message)
        for waiter in self._waiting.get(message.task, ()):
            waiter.on_end(result)


def final_result(message: TaskEnded) -> dict[str, Any] | None:
    """Return the result that came with the message, if it is one of an ended task."""
    result = message.result
    return result if result is not None and result.get("state") in _END_STATES else None
