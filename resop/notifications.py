"""Notifications of tasks and batches that have ended: which are due, and what became of an attempt.

An attempt belongs to one worker: it is counted before it is made, on the condition that nobody
else has counted it, and until `next_at` nobody looks at it again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlmodel import SQLModel

from resop.records import Notification, Records, now

_TASK = SQLModel.metadata.tables["task"]
_BATCH = SQLModel.metadata.tables["batch"]
_NOTIFICATION = SQLModel.metadata.tables["notification"]


class Notifications:
    """The queries. They block; all raise RecordsUnavailable."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def of(self, subject: str) -> Notification | None:
        """How the notification of a task or batch stands; None when nobody is to be told."""
        query = select(_NOTIFICATION).where(_NOTIFICATION.c.task == subject)
        with self._records.read() as db:
            row = db.execute(query).one_or_none()
        return None if row is None else Notification(**row._mapping)

    def due(self, limit: int) -> list[Notification]:
        """Those to be sent now, the oldest first."""
        ended = func.coalesce(_TASK.c.ended_at, _BATCH.c.ended_at)
        query = (
            select(_NOTIFICATION)
            .outerjoin(_TASK, _TASK.c.id == _NOTIFICATION.c.task)
            .outerjoin(_BATCH, _BATCH.c.id == _NOTIFICATION.c.task)
            .where(_NOTIFICATION.c.next_at <= now(), ended.is_not(None))
            .order_by(_NOTIFICATION.c.next_at)
            .limit(limit)
        )
        with self._records.read() as db:
            return [Notification(**row._mapping) for row in db.execute(query)]

    def begin(self, seen: Notification, until: datetime) -> bool:
        """Count an attempt, the caller's alone until that moment; False when it is another's."""
        return self._write(seen.task, seen.attempts, attempts=seen.attempts + 1, next_at=until)

    def delivered(self, seen: Notification) -> None:
        """The attempt that followed on `seen` succeeded: there is no other."""
        self._write(seen.task, seen.attempts + 1, delivered_at=now(), next_at=None, last_error=None)

    def failed(self, seen: Notification, error: str, next_at: datetime | None) -> None:
        """It failed; the next one is at that moment, if there is one."""
        self._write(seen.task, seen.attempts + 1, last_error=error, next_at=next_at)

    def _write(self, subject: str, so_far: int, **values: Any) -> bool:
        chosen = (
            _NOTIFICATION.c.task == subject,
            _NOTIFICATION.c.attempts == so_far,
            _NOTIFICATION.c.delivered_at.is_(None),
        )
        with self._records.write() as db:
            return bool(db.execute(update(_NOTIFICATION).where(*chosen).values(**values)).rowcount)
