"""Wake the requests that wait for a task to end."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from resop.messaging.messages import Resync, TaskEnded
from resop.storage.models import State

_ENDED = [state for state in State if state.ended]


class CompletionWaiter:
    """One who waits for the end of a task."""

    def __init__(self) -> None:
        self._heard = asyncio.Event()
        self.result: dict[str, Any] | None = None
        """The columns of the ended task, if they came with the message."""

    def on_end(self, result: dict[str, Any] | None) -> None:
        """Wake the waiter: the task has ended, or may have."""
        if result is not None:
            self.result = result
        self._heard.set()

    async def wait(self, seconds: float) -> None:
        """Return when something was heard, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._heard.wait()
        self._heard.clear()


class CompletionWaiters:
    """Who waits for the end of which task, in one API process."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[CompletionWaiter]] = defaultdict(set)

    @contextlib.contextmanager
    def waiting(self, task_id: str) -> Iterator[CompletionWaiter]:
        """A waiter that hears when the task has ended, or may have ended unheard."""
        heard = CompletionWaiter()
        self._waiting[task_id].add(heard)
        try:
            yield heard
        finally:
            self._waiting[task_id].discard(heard)
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
    return result if result is not None and result.get("state") in _ENDED else None
