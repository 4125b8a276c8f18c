"""Wake the requests that wait for a task to end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any


class CompletionWaiter:
    """One who waits for the end of a task."""

    def __init__(self) -> None:
        self._heard = asyncio.Event()
        self.result: dict[str, Any] | None = None
        """Columns of the ended task, where they came with the word."""

    def on_end(self, result: str) -> None:
        """The task has ended, or may have."""
        if result:
            self.result = json.loads(result)
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

    def on_message(self, word: str | None) -> None:
        """Wake those who wait for this task; everybody for None."""
        task_id, _, _, result = (word or "   ").split(" ", 3)
        for each in [task_id] if word is not None else list(self._waiting):
            for waiter in self._waiting.get(each, ()):
                waiter.on_end(result)
