"""The service's clock: the database's, which all processes share whatever their machines' say.

Clocks of machines differ and jump. What one process writes down and another compares must
therefore come from one clock. `Database` sets it; until then, and with SQLite, it is the machine's.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import NamedTuple

SYNC_SECONDS = 10.0
"""How often the database is asked for its time."""
NOTABLE_SECONDS = 2.0
"""A difference between the clock of a machine and the database's that somebody should know of."""
_JITTER_SECONDS = 0.05
"""A smaller difference is one of the measurement."""


class _Reading(NamedTuple):
    """The database's time at one moment."""

    at: float
    """`Clock.elapsed`"""
    unix: float


class Clock:
    """Tells the time of the database from the last time that was read there.

    In between only the time that passes is measured, so that a step of the machine's clock (by
    NTP, or after a virtual machine was suspended) changes nothing.
    """

    def __init__(self) -> None:
        self._reading: _Reading | None = None
        self._asked_at = float("-inf")
        self._id_shift = 0
        self.skew = 0.0
        """By how many seconds the machine's clock was ahead of the database's, last time."""

    @staticmethod
    def elapsed() -> float:
        """Return seconds since the machine was started, those of its sleep included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def time(self) -> float:
        """Return the Unix time in seconds."""
        reading = self._reading
        return time.time() if reading is None else reading.unix + self.elapsed() - reading.at

    @property
    def is_due(self) -> bool:
        """True if the database must be asked for its time."""
        return self.elapsed() - self._asked_at >= SYNC_SECONDS

    @property
    def id_shift(self) -> int:
        """The milliseconds by which the time in new ids must differ from the machine's.

        Whole seconds, and 0 for a small skew: ids that are made in turn must also sort so.
        """
        return self._id_shift

    def set(self, unix: float, asked_at: float) -> None:
        """Take over the time `unix`, for which the database was asked at `asked_at`."""
        answered_at = self.elapsed()
        self._asked_at = answered_at
        middle, error = (asked_at + answered_at) / 2, (answered_at - asked_at) / 2
        self.skew = time.time() - (unix + answered_at - middle)
        shift = -1000 * round(self.skew) if abs(self.skew) > NOTABLE_SECONDS else 0
        if abs(shift - self._id_shift) > 1000:
            self._id_shift = shift
        measured = unix + answered_at - middle
        if self._reading is None or abs(self.time() - measured) > error + _JITTER_SECONDS:
            self._reading = _Reading(middle, unix)


CLOCK = Clock()


def unix_time() -> float:
    """Return the service's time as Unix time in seconds."""
    return CLOCK.time()


def now() -> datetime:
    """Return the service's time, UTC."""
    return datetime.fromtimestamp(CLOCK.time(), UTC)
