"""Decide which workers are dead, by this process's own clock and nobody else's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple


class _Seen(NamedTuple):
    """A heartbeat, and when it was seen first."""

    heartbeat: object
    at: float


class HeartbeatWatch:
    """Notes when heartbeats change.

    A worker is dead when its heartbeat has been the same for long while this process looked. What
    the heartbeat says does not matter: it may have been written by a clock that is wrong or jumps.
    """

    def __init__(self, elapsed: Callable[[], float] = time.monotonic) -> None:
        """Set up; `elapsed` returns seconds, and is not set by anybody."""
        self._elapsed = elapsed
        self._seen: dict[str, _Seen] = {}
        self._looked_at = 0.0

    def look(self, read: Callable[[], Mapping[str, object]]) -> None:
        """Read the heartbeats of all workers, and note which of them are new."""
        # Before: this process may be suspended while it reads, and the others continue.
        self._looked_at = present = self._elapsed()
        heartbeats = read()
        self._seen = {
            worker: known
            if (known := self._seen.get(worker)) and known.heartbeat == heartbeat
            else _Seen(heartbeat, present)
            for worker, heartbeat in heartbeats.items()
        }

    def silent(self, seconds: float) -> list[str]:
        """Return the workers whose heartbeat was the same for at least this long, at the look."""
        before = self._looked_at - seconds
        return [worker for worker, seen in self._seen.items() if seen.at <= before]

    def forget(self) -> None:
        """Begin again: for a time, this process or the workers could not do their part."""
        self._seen.clear()
