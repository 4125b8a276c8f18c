"""A value that is read from elsewhere: by one task for everybody, again when it gets old."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Generic, TypeVar

from resop.errors import ResopError

log = logging.getLogger(__name__)

FRESH_SECONDS = 600.0
"""After this the value is read again, while the present one is still used."""
USABLE_SECONDS = 3600.0
"""A value that could not be read again is used for this long."""
PAUSE_SECONDS = 15.0
"""The pause between two readings: a source that does not answer is not asked for each request."""

T = TypeVar("T")


class Refreshed(Generic[T]):
    """A value and the task that reads it; for one event loop."""

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        """`read` has a time limit of its own, and raises a ResopError if it fails."""
        self._read = read
        self._values: list[T] = []
        """The last value that was read, if any."""
        self._read_at = 0.0
        self._ended_at: float | None = None
        """When the last reading ended, whether it succeeded or not."""
        self._fault: ResopError | None = None
        """Why the last reading failed."""
        self._reading: asyncio.Task[None] | None = None

    async def get(self) -> T:
        """Return the value; wait only if there is none. Raises why it could not be read."""
        age = monotonic() - self._read_at
        if self._values and age < USABLE_SECONDS:
            if age >= FRESH_SECONDS:
                self._begin()
            return self._values[0]
        return await self.newer()

    async def newer(self) -> T:
        """Return the value after reading it again, unless that was done just now."""
        if reading := self._begin():
            await asyncio.wait([reading])
        if self._values and monotonic() - self._read_at < USABLE_SECONDS:
            return self._values[0]
        assert self._fault is not None
        raise self._fault.copy()

    def _begin(self) -> asyncio.Task[None] | None:
        """Return the task that reads the value; None during the pause after the last one."""
        if self._reading is None or self._reading.done():
            if self._ended_at is not None and monotonic() - self._ended_at < PAUSE_SECONDS:
                return None
            self._reading = asyncio.get_running_loop().create_task(self._run())
        return self._reading

    async def _run(self) -> None:
        try:
            self._values = [await self._read()]
            self._read_at, self._fault = monotonic(), None
        except ResopError as fault:
            self._fault = fault
            log.warning("%s", fault.message)
        finally:
            self._ended_at = monotonic()
