"""Idempotency keys: find the task or batch that an earlier request with the same key made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from resop.storage.database import Database, repeated_on_conflict
from resop.storage.models import IDEMPOTENCY_KEY, IdempotencyKey

INSERT_KEY = insert(IDEMPOTENCY_KEY)


class IdempotencyKeyStore:
    """Reads and deletes idempotency keys. Methods block; all raise RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key_id: str) -> IdempotencyKey | None:
        """Return a key that some task or batch has, or None."""
        with self._database.read() as db:
            return find_keys(db, [key_id]).get(key_id)

    @repeated_on_conflict
    def delete(self, key_id: str) -> None:
        """Delete a key, so that the request with this key can be made again."""
        with self._database.write() as db:
            db.execute(delete(IDEMPOTENCY_KEY).where(IDEMPOTENCY_KEY.c.id == key_id))

    @repeated_on_conflict
    def delete_old(self, created_before: datetime, limit: int) -> int:
        """Delete at most `limit` keys created before this time, and return their number."""
        old = (
            select(IDEMPOTENCY_KEY.c.id)
            .where(IDEMPOTENCY_KEY.c.created_at < created_before)
            .limit(limit)
        )
        with self._database.write() as db:
            # Another worker may be deleting: skip the rows it has locked.
            ids = db.execute(self._database.locking(old)).scalars().all()
            if ids:
                db.execute(delete(IDEMPOTENCY_KEY).where(IDEMPOTENCY_KEY.c.id.in_(ids)))
        return len(ids)


def find_keys(db: Connection, ids: Sequence[str]) -> dict[str, IdempotencyKey]:
    """Return the keys among `ids` that exist, by id."""
    if not ids:
        return {}
    rows = db.execute(select(IDEMPOTENCY_KEY).where(IDEMPOTENCY_KEY.c.id.in_(ids)))
    return {row.id: IdempotencyKey(**row._mapping) for row in rows}
