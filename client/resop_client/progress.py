"""Progress: how much is done, and a line on the terminal that shows it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

Progress = Callable[[float, float], None]
"""Called with how much is done, and how much there is, in the same unit."""
BAR_WIDTH = 30
MIN_SECONDS = 0.1
"""The line is written at most once in this time."""


class ProgressLine:
    """A progress bar in one line; it writes nothing where no terminal is."""

    def __init__(self, label: str, stream: TextIO | None = None) -> None:
        """Write to standard error unless another stream is given."""
        self._label = label
        self._stream = stream or sys.stderr
        self._written_at = 0.0
        self._began = time.monotonic()

    def __call__(self, done: float, total: float) -> None:
        """Show the progress."""
        now, is_last = time.monotonic(), done >= total
        if not self._stream.isatty() or (now - self._written_at < MIN_SECONDS and not is_last):
            return
        self._written_at = now
        share = min(done / total, 1.0) if total else 1.0
        bar = "#" * round(share * BAR_WIDTH)
        seconds = now - self._began
        self._stream.write(
            f"\r{self._label} [{bar:{BAR_WIDTH}}] {share:4.0%} {seconds:.0f} s\x1b[K"
            + ("\n" if is_last else "")
        )
        self._stream.flush()


def progress_of(wanted: Progress | bool, label: str) -> Progress:
    """Return what shows progress: the given function, a line on the terminal, or nothing."""
    if callable(wanted):
        return wanted
    return ProgressLine(label) if wanted else _ignore


def _ignore(done: float, total: float) -> None:
    """Show nothing."""
