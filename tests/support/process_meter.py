"""Measure the cost of a request for a process: time of its event loop and all threads, and memory.

Processor time instead of time, so that a busy machine makes no difference.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple


class Cost(NamedTuple):
    """The cost between two moments."""

    loop_seconds: float
    """Processor time of the main thread, which runs the event loop."""
    all_seconds: float
    """Processor time of all threads; Python runs one of them at a time."""
    peak_bytes: int
    """How far the memory rose above what it was at the first moment."""


class ProcessMeter:
    """Measures a process of this machine, by its pid; needs root for the peak of the memory."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self._main = self._folder / "task" / str(pid) / "schedstat"
        self.start()

    def start(self) -> None:
        """Measure from now on."""
        (self._folder / "clear_refs").write_text("5")  # resets VmHWM, see proc(5)
        self._loop, self._all = self._seconds()
        self._memory = self._status("VmRSS")

    def cost(self) -> Cost:
        """Return the cost since the start."""
        loop, all_threads = self._seconds()
        peak = max(self._status("VmHWM"), self._status("VmRSS"))
        return Cost(loop - self._loop, all_threads - self._all, peak - self._memory)

    def _seconds(self) -> tuple[float, float]:
        threads = self._folder.glob("task/*/schedstat")
        return _first(self._main), sum(map(_first, threads))

    def _status(self, name: str) -> int:
        found = re.search(rf"^{name}:\s+(\d+) kB$", (self._folder / "status").read_text(), re.M)
        assert found is not None
        return int(found[1]) << 10


def _first(schedstat: Path) -> float:
    try:
        return int(schedstat.read_text().split()[0]) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # the thread has ended
