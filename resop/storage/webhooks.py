"""Notifications of tasks and batches that have ended: which are due, and what became of an attempt.

An attempt belongs to one worker: it is counted before it is made, on the condition that nobody
else has counted it, and until `next_at` nobody looks at it again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update

from resop.storage.models import BATCH, TASK, WEBHOOK_DELIVERY, WebhookDelivery, now
from resop.storage.tasks import Records


class WebhookStore:
    """The queries. They block; all raise RecordsUnavailable."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def of(self, subject: str) -> WebhookDelivery | None:
        """How the notification of a task or batch stands; None when nobody is to be told."""
        query = select(WEBHOOK_DELIVERY).where(WEBHOOK_DELIVERY.c.task == subject)
        with self._records.read() as db:
            row = db.execute(query).one_or_none()
        return None if row is None else WebhookDelivery(**row._mapping)

    def due(self, limit: int) -> list[WebhookDelivery]:
        """Those to be sent now, the oldest first."""
        ended = func.coalesce(TASK.c.ended_at, BATCH.c.ended_at)
        query = (
            select(WEBHOOK_DELIVERY)
            .outerjoin(TASK, TASK.c.id == WEBHOOK_DELIVERY.c.task)
            .outerjoin(BATCH, BATCH.c.id == WEBHOOK_DELIVERY.c.task)
            .where(WEBHOOK_DELIVERY.c.next_at <= now(), ended.is_not(None))
            .order_by(WEBHOOK_DELIVERY.c.next_at)
            .limit(limit)
        )
        with self._records.read() as db:
            return [WebhookDelivery(**row._mapping) for row in db.execute(query)]

    def begin(self, seen: WebhookDelivery, until: datetime) -> bool:
        """Count an attempt, the caller's alone until that moment; False when it is another's."""
        return self._write(seen.task, seen.attempts, attempts=seen.attempts + 1, next_at=until)

    def delivered(self, seen: WebhookDelivery) -> None:
        """The attempt that followed on `seen` succeeded: there is no other."""
        self._write(seen.task, seen.attempts + 1, delivered_at=now(), next_at=None, last_error=None)

    def failed(self, seen: WebhookDelivery, error: str, next_at: datetime | None) -> None:
        """It failed; the next one is at that moment, if there is one."""
        self._write(seen.task, seen.attempts + 1, last_error=error, next_at=next_at)

    def _write(self, subject: str, so_far: int, **values: Any) -> bool:
        chosen = (
            WEBHOOK_DELIVERY.c.task == subject,
            WEBHOOK_DELIVERY.c.attempts == so_far,
            WEBHOOK_DELIVERY.c.delivered_at.is_(None),
        )
        with self._records.write() as db:
            return bool(
                db.execute(update(WEBHOOK_DELIVERY).where(*chosen).values(**values)).rowcount
            )
