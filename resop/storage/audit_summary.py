"""Counts equal requests, so that the audit log has one entry for many.

A read is written once, and its repetitions within a minute become one further entry with their
number. Requests without an accepted token have entries of their own only up to a limit per address
(IPv6: per /64) and in all; those beyond become one entry per address and minute.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from resop.storage.ids import new_id
from resop.storage.models import AuditEntry, now

WINDOW_SECONDS = 60.0
STRANGER_ENTRIES = 20
"""Entries of their own in a window, for requests without a token from one address."""
ALL_STRANGERS_ENTRIES = 100
"""Such entries in a window, from all addresses together."""
STRANGER_ADDRESSES = 200
"""Addresses that are counted apart in a window; those beyond are counted together."""
READS_OF_A_PERSON = 500
"""Different reads of one person with entries of their own in a window."""
LISTED_NAMES = 20
"""User names of refused logins that the entry of an address lists."""
VARIOUS = "(various)"

MakeEntry = Callable[[], AuditEntry]


@dataclass(slots=True)
class _Window:
    """Equal requests since a moment."""

    entry: AuditEntry
    """The first of them."""
    began: float
    repeats: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    """The errors of strangers by type; empty for reads."""
    names: set[str] = field(default_factory=set)


class EntrySummary:
    """The requests of one process that are counted; may be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fresh: list[AuditEntry] = []
        """First reads, not yet written."""
        self._windows: dict[Hashable, _Window] = {}
        self._reads: Counter[Hashable] = Counter()
        self._strangers: Counter[str] = Counter()
        """Entries of their own by address, and under the empty text those of all."""
        self._addresses: set[str] = set()
        """The addresses that are counted apart."""
        self._reset_at = 0.0

    def count(self, key: Hashable, person: Hashable, moment: float, entry: MakeEntry) -> None:
        """Count a request of a person; `entry` makes its entry if it is the first of this `key`."""
        with self._lock:
            self._reset(moment)
            if window := self._windows.get(key):
                window.repeats += 1
                return
            self._reads[person] += 1
            if self._reads[person] <= READS_OF_A_PERSON:
                first = entry()
                self._fresh.append(first)
                self._windows[key] = _Window(first, moment)
                return
            rest = (person, VARIOUS)
            if rest not in self._windows:
                changes = {"path": VARIOUS, "action": "", "options": None, "task": None}
                self._windows[rest] = _Window(entry().model_copy(update=changes), moment)
            self._windows[rest].repeats += 1

    def admits(self, source: str, moment: float, entry: MakeEntry) -> bool:
        """Return True if a stranger's request gets an entry of its own; else count it.

        `source` is the address, or the network that counts as one address.
        """
        with self._lock:
            self._reset(moment)
            own, total = self._strangers[source], self._strangers[""]
            if own < STRANGER_ENTRIES and total < ALL_STRANGERS_ENTRIES:
                self._strangers.update([source, ""])
                return True
            self._count_stranger(source, moment, entry())
            return False

    def add(self, entry: AuditEntry) -> None:
        """Have an entry of its own written with the next ones that are due."""
        with self._lock:
            self._fresh.append(entry)

    def due(self, moment: float) -> list[AuditEntry]:
        """Return the entries to be written now; all of them for an infinite `moment`."""
        with self._lock:
            entries, self._fresh = self._fresh, []
            ended = [
                key
                for key, window in self._windows.items()
                if moment - window.began >= WINDOW_SECONDS
            ]
            windows = [self._windows.pop(key) for key in ended]
            return entries + [_summary(window) for window in windows if window.repeats]

    def _count_stranger(self, source: str, moment: float, entry: AuditEntry) -> None:
        if source not in self._addresses and len(self._addresses) >= STRANGER_ADDRESSES:
            source = "several addresses"
        self._addresses.add(source)
        key = ("stranger", source)
        if key not in self._windows:
            changes = {"address": source, "path": VARIOUS, "action": "", "options": None}
            self._windows[key] = _Window(entry.model_copy(update=changes), moment)
        window = self._windows[key]
        window.repeats += 1
        window.errors[entry.error or entry.outcome] += 1
        if entry.username and len(window.names) < LISTED_NAMES:
            window.names.add(entry.username)

    def _reset(self, moment: float) -> None:
        """Forget the numbers of the last window."""
        if moment >= self._reset_at:
            self._reset_at = moment + WINDOW_SECONDS
            self._reads.clear()
            self._strangers.clear()
            self._addresses.clear()


def _summary(window: _Window) -> AuditEntry:
    """Return the entry of the repetitions, with a time and an id of its own."""
    changes = {"id": new_id(), "at": now(), "count": window.repeats}
    if window.errors:
        options = {"errors": dict(window.errors), "users": sorted(window.names)}
        changes |= {"username": "", "error": None, "options": options}
    return window.entry.model_copy(update=changes)
