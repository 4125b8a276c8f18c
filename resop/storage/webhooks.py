"""Webhook deliveries: find the due ones, and record the attempts.

Each attempt belongs to one worker: the worker counts the attempt before making it, on condition
that no other worker has counted it, and no worker looks at the delivery again until `next_at`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update

from resop.storage.database import Database, repeated_on_conflict
from resop.storage.models import APPROVAL, BATCH, TASK, WEBHOOK_DELIVERY, WebhookDelivery, now


class WebhookStore:
    """Reads and writes webhook deliveries. Methods block; all raise RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, subject: str) -> WebhookDelivery | None:
        """Return the delivery for a task or batch, or None if no webhook is to be sent."""
        query = select(WEBHOOK_DELIVERY).where(WEBHOOK_DELIVERY.c.task == subject)
        with self._database.read() as db:
            row = db.execute(query).one_or_none()
        return None if row is None else WebhookDelivery(**row._mapping)

    def due(self, limit: int) -> list[WebhookDelivery]:
        """Return the deliveries whose webhook must be sent now, oldest first.

        That of a task or batch is due when it has ended, that of a request for approval at once.
        """
        happened = func.coalesce(TASK.c.ended_at, BATCH.c.ended_at, APPROVAL.c.created_at)
        query = (
            select(WEBHOOK_DELIVERY)
            .outerjoin(TASK, TASK.c.id == WEBHOOK_DELIVERY.c.task)
            .outerjoin(BATCH, BATCH.c.id == WEBHOOK_DELIVERY.c.task)
            .outerjoin(APPROVAL, APPROVAL.c.id == WEBHOOK_DELIVERY.c.task)
            .where(WEBHOOK_DELIVERY.c.next_at <= now(), happened.is_not(None))
            .order_by(WEBHOOK_DELIVERY.c.next_at)
            .limit(limit)
        )
        with self._database.read() as db:
            return [WebhookDelivery(**row._mapping) for row in db.execute(query)]

    def begin(self, seen: WebhookDelivery, until: datetime) -> bool:
        """Count an attempt that belongs to the caller until this time.

        Returns False if another worker has counted an attempt since the caller read `seen`.
        """
        return self._write(seen.task, seen.attempts, attempts=seen.attempts + 1, next_at=until)

    def delivered(self, seen: WebhookDelivery) -> None:
        """Record that the attempt after `seen` succeeded: there will be no other."""
        self._write(seen.task, seen.attempts + 1, delivered_at=now(), next_at=None, last_error=None)

    def failed(self, seen: WebhookDelivery, error: str, next_at: datetime | None) -> None:
        """Record that the attempt after `seen` failed; `next_at` is None if it was the last."""
        error = error.encode("utf-8", "replace").decode()
        self._write(seen.task, seen.attempts + 1, last_error=error, next_at=next_at)

    @repeated_on_conflict
    def _write(self, subject: str, expected_attempts: int, **values: Any) -> bool:
        expected = (
            WEBHOOK_DELIVERY.c.task == subject,
            WEBHOOK_DELIVERY.c.attempts == expected_attempts,
            WEBHOOK_DELIVERY.c.delivered_at.is_(None),
        )
        with self._database.write() as db:
            return bool(
                db.execute(update(WEBHOOK_DELIVERY).where(*expected).values(**values)).rowcount
            )
