"""Notifications of tasks and batches that have ended: which are due, and what became of an attempt.

An attempt belongs to one worker: it is counted before it is made, on the condition that nobody
else has counted it, and until `next_at` nobody looks at it again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update

from resop.storage.models import BATCH, NOTIFICATION, TASK, Notification, now
from resop.storage.tasks import Records


class Notifications:
    """The queries. They block; all raise RecordsUnavailable."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def of(self, subject: str) -> Notification | None:
        """How the notification of a task or batch stands; None when nobody is to be told."""
        query = select(NOTIFICATION).where(NOTIFICATION.c.task == subject)
        with self._records.read() as db:
            row = db.execute(query).one_or_none()
        return None if row is None else Notification(**row._mapping)

    def due(self, limit: int) -> list[Notification]:
        """Those to be sent now, the oldest first."""
        ended = func.coalesce(TASK.c.ended_at, BATCH.c.ended_at)
        query = (
            select(NOTIFICATION)
            .outerjoin(TASK, TASK.c.id == NOTIFICATION.c.task)
            .outerjoin(BATCH, BATCH.c.id == NOTIFICATION.c.task)
            .where(NOTIFICATION.c.next_at <= now(), ended.is_not(None))
            .order_by(NOTIFICATION.c.next_at)
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
            NOTIFICATION.c.task == subject,
            NOTIFICATION.c.attempts == so_far,
            NOTIFICATION.c.delivered_at.is_(None),
        )
        with self._records.write() as db:
            return bool(db.execute(update(NOTIFICATION).where(*chosen).values(**values)).rowcount)
