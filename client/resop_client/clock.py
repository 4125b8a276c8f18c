"""Pauses, for the asynchronous source of the client and for what is generated from it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

MIN_PAUSE = 0.2
MAX_PAUSE = 10.0


async def asleep(seconds: float) -> None:
    """Let other tasks of the event loop run for some seconds."""
    import asyncio  # which takes long, and the synchronous client has no need of it

    await asyncio.sleep(seconds)


def sleep(seconds: float) -> None:
    """Pause this thread."""
    time.sleep(seconds)


def growing_pauses() -> Iterator[float]:
    """Yield the pauses between attempts, in seconds: each about twice the one before."""
    pause = MIN_PAUSE
    while True:
        yield pause * random.uniform(0.8, 1.2)
        pause = min(pause * 2, MAX_PAUSE)
