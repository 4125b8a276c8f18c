"""Records the steps of one task: their begin, their output while they run, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from resop.errors import ResopError
from resop.security.masking import Masker
from resop.steps.step import StepRequest
from resop.storage.changes import Change
from resop.storage.models import Step, StepOutput, now
from worker.output_capture import OutputCapture
from worker.record_writer import RecordWriter
from worker.resumed_steps import PreviousRun
from worker.task_log import TaskLog


@dataclass(slots=True)
class StepRecord:
    """A step being recorded: its number, the columns of its end, and a callback."""

    number: int
    values: dict[str, Any] = field(default_factory=dict)
    on_written: Callable[[], None] | None = None
    """Called on the loop when the end is in the database."""


class StepJournal:
    """Writes what one task's steps do, secrets masked. Used on the worker's loop."""

    def __init__(
        self,
        task_id: str,
        writer: RecordWriter,
        masker: Masker,
        task_log: TaskLog,
        previous: PreviousRun,
    ) -> None:
        """Set up; steps and output are numbered after those of the `previous` run."""
        last = max((step.number for step in previous.steps), default=0)
        self._task_id = task_id
        self._writer = writer
        self._masker = masker
        self._task_log = task_log
        self._numbers = itertools.count(last + 1)
        self._row_numbers = itertools.count(previous.output_rows + 1)
        self._recorded_output = dict(previous.output_lengths)
        """Characters that a previous worker recorded, by step and stream."""

    @contextlib.asynccontextmanager
    async def recorded(
        self,
        command: str,
        *,
        step_id: str | None,
        undo: bool = False,
        previous: Step | None = None,
    ) -> AsyncIterator[StepRecord]:
        """Record a step's begin, then its end with the values the caller adds, or its error.

        The begin of a step with an ID is in the database before the step is sent: a step that is
        not recorded was not sent. A `previous` worker's record is continued, and left as it is if
        the step had ended.
        """
        record = StepRecord(previous.number if previous is not None else next(self._numbers))
        began = time.monotonic()
        if previous is None:
            await self._record_begin(record.number, command, step_id, undo)
        try:
            yield record
        except ResopError as fault:
            self.record_end(record.number, error=self._masker.text(fault.message))
            raise
        if previous is None or previous.seconds is None:
            values = {"seconds": time.monotonic() - began, **record.values}
            written = self.record_end(record.number, **values)
            if (callback := record.on_written) is not None:
                loop = asyncio.get_running_loop()
                written.add_done_callback(
                    lambda done: done.exception() or loop.call_soon_threadsafe(callback)
                )

    def record_end(self, number: int, **values: Any) -> Future[None]:
        """Record the end of a step."""
        return self._writer.write_soon(Change.step_ended(self._task_id, number, **values))

    async def record_not_durable(self) -> None:
        """Record that no worker can resume the task; returns when that is written."""
        await self._written(Change.progress(self._task_id, resume_count=None))

    def capture(self, step: StepRequest, number: int) -> OutputCapture:
        """Return the recorder of a step's output; only what may be recorded goes through it."""
        streams = () if step.secret_output else (2,) if step.raw else (1, 2)
        write = partial(self._record_output, number)
        return OutputCapture(write, self._masker, step.max_output, streams)

    async def _record_begin(
        self, number: int, command: str, step_id: str | None, undo: bool
    ) -> None:
        step = Step(
            task=self._task_id,
            number=number,
            command=self._masker.text(command),
            undo=undo,
            log_lines=len(self._task_log.lines),
            started_at=now(),
            step_id=step_id,
        )
        if step_id is None:
            self._writer.write_soon(Change.step_begun(step))
        else:
            await self._written(Change.step_begun(step))

    async def _written(self, change: Change) -> None:
        await asyncio.shield(asyncio.wrap_future(self._writer.write_now(change)))

    def _record_output(self, number: int, texts: list[tuple[int, str]]) -> Future[None]:
        rows = [
            StepOutput(
                task=self._task_id,
                number=next(self._row_numbers),
                step=number,
                stream=stream,
                text=new_text,
            )
            for stream, text in texts
            if (new_text := self._skip_recorded(number, stream, text))
        ]
        if rows:
            return self._writer.write_now(Change.printed(self._task_id, rows))
        nothing: Future[None] = Future()
        nothing.set_result(None)
        return nothing

    def _skip_recorded(self, number: int, stream: int, text: str) -> str:
        """Skip output that a previous worker recorded: a resumed step repeats all its output."""
        recorded = self._recorded_output.get((number, stream), 0)
        if recorded:
            self._recorded_output[number, stream] = max(0, recorded - len(text))
        return text[recorded:]
