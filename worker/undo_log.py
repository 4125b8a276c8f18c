"""The steps that would undo a running operation, recorded in case its worker dies."""

from __future__ import annotations

import threading
import time

from resop.errors import StepTimedOut
from resop.security.masking import Masker
from resop.steps.step import StepRequest
from resop.storage.changes import Change
from worker.record_writer import RecordWriter
from worker.resumed_steps import ResumeState
from worker.task_control import TaskControl

MIN_WRITE_SECONDS = 5.0
"""How long an undo step may take to be recorded, even when the task's own time is over."""


class UndoLog:
    """One task's registered undo steps that have not been run."""

    def __init__(
        self,
        task_id: str,
        writer: RecordWriter,
        masker: Masker,
        control: TaskControl,
        resume: ResumeState,
    ) -> None:
        self._task_id = task_id
        self._writer = writer
        self._masker = masker
        self._control = control
        self._resume = resume
        self._pending: list[StepRequest] = []
        self._lock = threading.Lock()

    def register(self, undo: StepRequest) -> None:
        """Record an undo step; blocks until it is written.

        Raises StepTimedOut if the database is unavailable until the task's time is over.
        """
        self._masker.learn(undo.secrets)
        with self._lock:
            self._pending.append(undo)
            if self._resume.replaying:
                return  # a previous worker recorded it, before the steps that are replayed
            written = self._writer.write_now(self._change())
        # When the task's time is over as well: what may have happened then must be undone, too.
        patience = max(MIN_WRITE_SECONDS, self._control.deadline - time.monotonic())
        try:
            written.result(patience)
        except TimeoutError:
            raise StepTimedOut(
                "the task's time limit is reached: the database is unavailable, and what would "
                "undo the task's next step could not be recorded"
            ) from None

    def mark_undone(self, step: StepRequest) -> None:
        """Remove an undo step that has succeeded."""
        if step in self._pending:
            self._pending.remove(step)
            self._writer.write_soon(self._change())

    def _change(self) -> Change:
        commands = [self._masker.text(step.display) for step in self._pending]
        return Change.progress(self._task_id, pending_undo=commands)
