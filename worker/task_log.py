"""The log and the progress of a running task, recorded now and then while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import time

from resop.errors import RecordRefused
from resop.security.masking import Masker
from resop.storage.changes import Change
from worker.record_writer import RecordWriter
from worker.resumed_steps import ResumeState

MAX_LOG_BYTES = 1 << 20
LOG_CUT = "(the log was cut here)"
RECORD_INTERVAL = 1.0
"""Least time in seconds between two writes of a task's log."""
FIRST_RECORD_DELAY = 0.1
"""Seconds before the first write: a short operation's log is written only with its end."""


class TaskLog:
    """One task's log and progress. `add` and `set_progress` may be called from any thread."""

    def __init__(
        self,
        task_id: str,
        writer: RecordWriter,
        masker: Masker,
        loop: asyncio.AbstractEventLoop,
        resume: ResumeState,
        recorded_lines: int = 0,
    ) -> None:
        """Start an empty log; a previous worker has recorded `recorded_lines` lines already."""
        self.lines: list[str] = []
        self.progress: dict[str, float] | None = None
        self._task_id = task_id
        self._writer = writer
        self._masker = masker
        self._loop = loop
        self._resume = resume
        self._recorded_lines = recorded_lines
        self._bytes = 0
        self._recorded_at = 0.0
        self._scheduled = False
        self._closed = False

    def add(self, text: str) -> None:
        """Add a line, secrets masked; beyond 1 MiB the log is cut, with a line that says so."""
        text = self._masker.text(str(text))
        self._bytes += len(text.encode("utf-8", "replace"))
        if self._bytes <= MAX_LOG_BYTES:
            self.lines.append(text)
        elif self.lines[-1:] != [LOG_CUT]:
            self.lines.append(LOG_CUT)
        self._schedule()

    def set_progress(self, done: float, total: float) -> None:
        """Set how much of the task is done."""
        self.progress = {"done": done, "total": total}
        self._schedule()

    async def record(self) -> None:
        """Record the log and wait until it is written; a longer recorded log stays."""
        if self._is_ahead():
            with contextlib.suppress(RecordRefused):  # which is logged
                await asyncio.shield(asyncio.wrap_future(self._writer.write_now(self._change())))

    def close(self) -> None:
        """Record no more: the task's end is written with the whole log."""
        self._closed = True

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            wait = max(FIRST_RECORD_DELAY, self._recorded_at + RECORD_INTERVAL - time.monotonic())
            self._loop.call_soon_threadsafe(self._loop.call_later, wait, self._record_soon)

    def _record_soon(self) -> None:
        if self._closed:
            return
        # Before the log is read: a line added from now on schedules the next write.
        self._scheduled = False
        self._recorded_at = time.monotonic()
        if self._is_ahead() and not self._resume.replaying:
            self._writer.write_soon(self._change())

    def _is_ahead(self) -> bool:
        """Return False if a previous worker recorded more of the log than is repeated so far."""
        return len(self.lines) >= self._recorded_lines

    def _change(self) -> Change:
        return Change.progress(self._task_id, log=list(self.lines), progress=self.progress)
