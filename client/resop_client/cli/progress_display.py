"""Progress on the terminal: it appears when something lasts longer than a second."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.status import Status

if TYPE_CHECKING:
    from rich.console import Console

DELAY_SECONDS = 1.0
NARROW = 60
"""On a terminal of fewer columns, a bar has no speed and no rest of time."""


class _Delayed:
    """Something that moves on the screen from the first second on, until its context ends."""

    def __init__(self, moving: Status | Progress) -> None:
        self._moving = moving
        self._timer = threading.Timer(DELAY_SECONDS, moving.start)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        self._timer.join()
        self._moving.stop()


class Waiting(_Delayed):
    """A line that moves while something lasts that has no measure."""

    def __init__(self, console: Console, text: str) -> None:
        """Show `text` beside it."""
        super().__init__(Status(text, console=console))


class Bar(_Delayed):
    """A progress bar: call it with how much is done, and how much there is."""

    def __init__(self, console: Console, label: str, *, size: bool = False) -> None:
        """Begin a bar with a label; with `size`, what is counted are bytes."""
        self._progress = Progress(*_columns(console, size=size), console=console)
        self._task = self._progress.add_task(label, total=None)
        super().__init__(self._progress)

    def __call__(self, done: float, total: float) -> None:
        """Show the progress."""
        self._progress.update(self._task, completed=done, total=total)


def _columns(console: Console, *, size: bool) -> list[ProgressColumn]:
    label = TextColumn("{task.description}", markup=False)
    if console.width < NARROW:
        return [label, TaskProgressColumn()]
    if size:
        amount = [DownloadColumn(binary_units=True), TransferSpeedColumn()]
        return [label, BarColumn(bar_width=None), *amount, TimeRemainingColumn()]
    return [label, BarColumn(bar_width=None), MofNCompleteColumn(), TimeElapsedColumn()]
