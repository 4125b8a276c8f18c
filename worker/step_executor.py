"""The executor of one task: takes an operation's steps, transfers and log lines from its thread."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from resop.archives.entry import File, TransferStats
from resop.security.identity import Identity
from resop.security.masking import Masker
from resop.steps.result import Result
from resop.steps.step import StepRequest
from resop.steps.undo import UndoStep
from worker.file_transfers import FileTransfers
from worker.resumed_steps import ResumeState
from worker.step_sender import StepSender
from worker.task_control import TaskControl
from worker.task_log import TaskLog
from worker.undo_log import UndoLog

log = logging.getLogger(__name__)


@dataclass(slots=True)
class SshStepExecutor:
    """The `StepExecutor` whose steps leave over SSH. Its methods block the calling thread."""

    task_id: str
    masker: Masker
    control: TaskControl
    resume: ResumeState
    steps: StepSender
    files: FileTransfers
    task_log: TaskLog
    undo_log: UndoLog

    def run(self, step: StepRequest) -> Result:
        """Run one step to its end and record it."""
        return self.control.wait(self.steps.run(step))

    def record_undo(self, steps: Sequence[UndoStep]) -> None:
        """Record the undo steps; returns when that is written."""
        self.undo_log.record(steps)

    def update_undo(self, steps: Sequence[UndoStep], *, sending: bool = False) -> None:
        """Record how far the undo steps have come."""
        self.undo_log.update(steps, sending=sending)

    def take_over_undo(
        self, task: str, identity: Identity, is_administrator: bool
    ) -> tuple[list[UndoStep], list[str]]:
        """Make the undo steps that another task has left those of this task."""
        return self.undo_log.take_over(task, identity, is_administrator)

    def log(self, text: str) -> None:
        """Add a line to the task's log."""
        self.task_log.add(text)

    def progress(self, done: float, total: float) -> None:
        """Set how much of the task is done."""
        self.task_log.set_progress(done, total)

    def log_fault(self, trace: str) -> None:
        """Write a traceback to the worker's log, secrets masked."""
        log.error("task %s: %s", self.task_id, self.masker.text(trace))

    def put(self, content: bytes, path: str, mode: int | None, overwrite: bool) -> None:
        """Write a file: it appears complete or not at all."""
        self.files.put(content, path, mode, overwrite)

    def get(self, path: str, limit: int) -> File:
        """Read a file of at most `limit` bytes."""
        return self.files.get(path, limit)

    def put_folder(self, content: bytes, path: str, merge: bool) -> TransferStats:
        """Write a folder from a tar archive that was checked before."""
        return self.files.put_folder(content, path, merge)

    def get_folder(self, path: str, limit: int) -> bytes:
        """Read a folder as a tar archive of at most `limit` bytes."""
        return self.files.get_folder(path, limit)

    def copy(self, source: str, target: str, overwrite: bool) -> TransferStats:
        """Copy a file or folder on the cluster."""
        return self.files.copy(source, target, overwrite)
