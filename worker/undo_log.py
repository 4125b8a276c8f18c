"""The record of a task's undo steps, so that they are known, and can be run, if its worker dies."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

from resop.errors import RecordRefused, StepTimedOut
from resop.security.identity import Identity
from resop.security.masking import Masker
from resop.steps.undo import (
    UndoRecord,
    UndoReport,
    UndoStep,
    read_records,
    report,
    unsettled,
)
from resop.storage.changes import Change
from worker.record_writer import RecordWriter
from worker.repairs import RepairStore
from worker.resumed_steps import ResumeState
from worker.task_control import TaskControl

log = logging.getLogger(__name__)

MIN_WRITE_SECONDS = 5.0
"""How long an undo step may take to be recorded, even when the task's own time is over."""


class UndoLog:
    """One task's undo steps. For any thread."""

    def __init__(
        self,
        task_id: str,
        writer: RecordWriter,
        masker: Masker,
        control: TaskControl,
        resume: ResumeState,
        repairs: RepairStore | None = None,
    ) -> None:
        """Set up; without `repairs` the recorded steps cannot be run by another task."""
        self._task_id = task_id
        self._writer = writer
        self._masker = masker
        self._control = control
        self._resume = resume
        self._repairs = repairs
        self._sealed: dict[UndoStep, UndoRecord] = {}
        """The encrypted form of each step, for a repair; it does not change."""
        self._latest: list[UndoRecord] = []
        self._lock = threading.Lock()

    def add_previous(self, recorded: Sequence[UndoRecord | str] | None) -> UndoReport:
        """Add steps that a previous worker recorded and this one did not repeat; report on all."""
        with self._lock:
            known = {record["command"] for record in self._latest}
            previous = read_records(recorded)
            self._latest = [
                *(record for record in previous if record["command"] not in known),
                *self._latest,
            ]
            return report(self._latest)

    @property
    def unsettled(self) -> list[UndoRecord] | None:
        """The records of the steps that remain to be run; None if there are none."""
        return unsettled(self._latest) or None

    def record(self, steps: Sequence[UndoStep]) -> None:
        """Record the undo steps, with new ones; blocks until they are written.

        Raises StepTimedOut if the database is unavailable until the task's time is over.
        """
        written = self._write(steps)
        # When the task's time is over as well: what may have happened then must be undone, too.
        patience = max(MIN_WRITE_SECONDS, self._control.deadline - time.monotonic())
        try:
            written.result(patience)
        except TimeoutError:
            raise StepTimedOut(
                "the task's time limit is reached: the database is unavailable, and what would "
                "undo the task's next step could not be recorded"
            ) from None

    def update(self, steps: Sequence[UndoStep], *, sending: bool = False) -> None:
        """Record how far known undo steps have come; does not wait, or briefly if `sending`.

        An undo step is sent even if the database is unavailable.
        """
        written = self._write(steps)
        if sending:
            try:
                written.result(MIN_WRITE_SECONDS)
            except (TimeoutError, RecordRefused):
                log.warning("task %s: an undo step is sent before it is recorded", self._task_id)

    def take_over(
        self, task: str, identity: Identity, is_administrator: bool
    ) -> tuple[list[UndoStep], list[str]]:
        """Make the undo steps that another task has left those of this task."""
        assert self._repairs is not None, "only a worker's executor repairs"
        found = self._repairs.take_over(task, self._task_id, identity, is_administrator)
        for step, sealed in found.steps:
            self._masker.learn(step.step.secrets)
            self._sealed[step] = sealed
        return [step for step, _ in found.steps], found.left

    def _write(self, steps: Sequence[UndoStep]) -> Future[None]:
        with self._lock:  # one after the other, so that the last record is the latest one
            self._latest = [self._record(step) for step in steps]
            if self._resume.replaying:
                # A previous worker recorded it, before the steps that are replayed.
                done: Future[None] = Future()
                done.set_result(None)
                return done
            change = Change.progress(self._task_id, pending_undo=self._latest)
            return self._writer.write_now(change)

    def _record(self, step: UndoStep) -> UndoRecord:
        self._masker.learn(step.step.secrets)
        record: UndoRecord = self._masker.json(step.record())
        if step.state.settled or self._repairs is None:
            return record
        if step not in self._sealed:
            self._sealed[step] = self._repairs.seal(step, self._task_id)
        return record | self._sealed[step]
