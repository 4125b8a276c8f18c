"""The undo steps that ended tasks have left, and the task in whose list each of them is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, select, update

from resop.security.identity import Identity
from resop.steps.undo import UndoRecord, read_records, report, unsettled
from resop.storage.database import Database, repeated_on_conflict
from resop.storage.models import TASK, State

REPAIRED_BY = "repaired_by"
"""The key of an ended task's error with the id of the task that has taken over its undo steps."""
MAX_REPAIRS = 100
"""Repairs of one task, each of which repairs what the one before it has left."""


class UndoOwner(NamedTuple):
    """The task that has a list of undo steps."""

    task: str
    identity: Identity
    """The user of the task that was asked for."""
    ended: bool
    error: dict[str, Any]
    records: list[UndoRecord]
    """The steps that remain to be run."""


class UndoRecords:
    """Reads and moves undo records. Methods block; all raise RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def owner(self, task_id: str) -> UndoOwner | None:
        """Return the task with the list of this one: itself, or its last repair; None without."""
        asked, identity = task_id, None
        with self._database.read() as db:
            for _ in range(MAX_REPAIRS):
                row = db.execute(_of(asked)).one_or_none()
                if row is None:
                    return None
                identity = identity or Identity(row.username, row.cluster)
                error = row.error or {}
                records = unsettled(read_records(row.pending_undo))
                if records or REPAIRED_BY not in error:
                    return UndoOwner(row.id, identity, State(row.state).ended, error, records)
                asked = error[REPAIRED_BY]
        return None

    @repeated_on_conflict
    def move(
        self,
        owner: UndoOwner,
        by: str,
        moved: Sequence[UndoRecord],
        left: Sequence[UndoRecord],
    ) -> bool:
        """Move records to the list of the task `by`; return False if another task was faster."""
        shown = report(left)
        lists = {"needs_repair": shown.needs_repair, "repair": shown.repair}
        error = {**owner.error, **lists, REPAIRED_BY: by}
        if not left:
            del error["repair"]
        with self._database.write() as db:
            unchanged = TASK.c.id == owner.task, TASK.c.pending_undo.is_not(None)
            current = db.execute(_of(owner.task).with_for_update()).one_or_none()
            if current is None or unsettled(read_records(current.pending_undo)) != owner.records:
                return False
            values = {"pending_undo": list(left) or None, "error": error}
            db.execute(update(TASK).where(*unchanged).values(values))
            db.execute(update(TASK).where(TASK.c.id == by).values(pending_undo=list(moved)))
        return True


def _of(task_id: str) -> Select[Any]:
    columns = (TASK.c.id, TASK.c.username, TASK.c.cluster)
    return select(*columns, TASK.c.state, TASK.c.error, TASK.c.pending_undo).where(
        TASK.c.id == task_id
    )
