"""Count the messages that were refused because nobody of this service sent them, and log some."""

from __future__ import annotations

import logging
import time
from collections import Counter

log = logging.getLogger(__name__)

LOG_SECONDS = 60.0
"""Least time between two log lines about one place: an attacker may send millions."""


class Refusals:
    """The refused messages of one process, by channel or queue."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._logged_at: dict[str, float] = {}
        """time.monotonic"""

    def add(self, place: str, reason: Exception) -> None:
        """Count a message refused on a channel or queue, and log it unless one was just logged."""
        self.counts[place] += 1
        now = time.monotonic()
        if now >= self._logged_at.get(place, now - LOG_SECONDS) + LOG_SECONDS:
            self._logged_at[place] = now
            log.warning("refused message %d on %s: %s", self.counts[place], place, reason)
