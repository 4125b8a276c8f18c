"""Let other tasks of the event loop run during a long computation."""

from __future__ import annotations

import asyncio
import time

MAX_SECONDS = 0.005


class LoopTurn:
    """One turn of the event loop, which ends when it has taken long.

    A coroutine that finds everything it awaits in memory never gives way by itself.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()

    async def end_if_long(self) -> None:
        """Let others run if they have been waiting for some milliseconds."""
        if time.monotonic() - self._began > MAX_SECONDS:
            await asyncio.sleep(0)
            self._began = time.monotonic()
