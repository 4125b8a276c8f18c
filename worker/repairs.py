"""Hand the undo steps that an ended task has left over to the task that repairs it.

The steps are stored encrypted for the task that registered them. Each is in the list of one task at
any time: the ended one's list is emptied in the transaction that fills the repair's.
"""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

from resop.errors import TaskRunning, TokenRefused, UnknownTask
from resop.security.encryption import Encryptor
from resop.security.identity import Identity
from resop.steps.undo import LOGIN_NODE, UndoRecord, UndoState, UndoStep, report
from resop.storage.database import Database
from resop.storage.undo_records import UndoRecords


class Handover(NamedTuple):
    """The undo steps that a repair gets."""

    steps: list[tuple[UndoStep, UndoRecord]]
    """The steps to run, each with its encrypted form, in the order of their registration."""
    left: list[str]
    """Lines about the steps that remain with the ended task."""


class RepairStore:
    """Encrypts undo steps, and hands them over."""

    def __init__(self, database: Database, encryptor: Encryptor) -> None:
        self._records = UndoRecords(database)
        self._encryptor = encryptor

    def seal(self, step: UndoStep, task_id: str) -> UndoRecord:
        """Return the part of a step's record from which a repair can run it."""
        sealed = self._encryptor.encrypt(step.as_json(), task_id)
        return {"task": task_id, "sealed": base64.b64encode(sealed).decode()}

    def take_over(
        self, task_id: str, by: str, identity: Identity, is_administrator: bool
    ) -> Handover:
        """Move the undo steps that a task, or the last repair of it, has left to the task `by`.

        Blocks. Raises UnknownTask, TaskRunning and RecordsUnavailable.
        """
        owner = self._records.owner(task_id)
        is_own = owner is not None and owner.identity == identity
        may = owner is not None and is_administrator and owner.identity.cluster == identity.cluster
        if owner is None or not (is_own or may):
            raise UnknownTask(f"there is no task {task_id!r}")
        if not owner.ended:
            raise TaskRunning(f"the task {owner.task} has not ended yet")
        opened: dict[int, tuple[UndoStep, UndoRecord]] = {}
        for number, record in enumerate(owner.records):
            step = self._open(record)
            if step and (is_own or step.where != LOGIN_NODE):
                opened[number] = step, {name: record[name] for name in ("task", "sealed")}
        moved = [record for number, record in enumerate(owner.records) if number in opened]
        left = [record for number, record in enumerate(owner.records) if number not in opened]
        if moved and not self._records.move(owner, by, moved, left):
            raise TaskRunning(f"another task repairs the task {owner.task}")
        return Handover(list(opened.values()), report(left).needs_repair)

    def _open(self, record: UndoRecord) -> UndoStep | None:
        """Return the recorded step; None if it cannot be run again."""
        if "sealed" not in record:
            return None
        sealed = base64.b64decode(record["sealed"])
        try:
            content: dict[str, Any] = self._encryptor.decrypt(sealed, record["task"])
        except TokenRefused:
            return None
        state = UndoState(record["state"])
        was_done = state == UndoState.NOT_RUN
        return UndoStep.from_json(content, state if was_done else UndoState.UNCERTAIN)
