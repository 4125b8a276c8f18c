"""API keys: written when a person makes one, read at its first request, listed, deleted."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, func, insert, select, update

from resop.errors import LimitReached
from resop.storage.database import Database, repeated_on_conflict
from resop.storage.models import API_KEY, CREDENTIAL, ApiKey, Credential, now

MAX_API_KEYS = 50
"""How many live API keys one user may have on one cluster."""


class ApiKeyStore:
    """Reads and writes API keys. Methods block; all raise RecordsUnavailable.

    A key is live as long as its credential, which has the same id.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @repeated_on_conflict
    def add(self, key: ApiKey, credential: Credential) -> None:
        """Write a new key with its credential. Raises LimitReached for one too many."""
        count = select(func.count()).select_from(_live(key.username, key.cluster).subquery())
        with self._database.write() as db:
            if db.execute(count).scalar_one() >= MAX_API_KEYS:
                raise LimitReached(f"you have {MAX_API_KEYS} API keys: delete one of them first")
            db.execute(insert(CREDENTIAL), [credential.model_dump()])
            db.execute(insert(API_KEY), [key.model_dump()])

    def get(self, key_id: str) -> ApiKey | None:
        """Return a live key, or None."""
        with self._database.read() as db:
            row = db.execute(_live().where(API_KEY.c.id == key_id)).one_or_none()
        return None if row is None else ApiKey(**row._mapping)

    def live(self, username: str, cluster: str) -> list[ApiKey]:
        """Return the live keys of a user, oldest first."""
        with self._database.read() as db:
            rows = db.execute(_live(username, cluster).order_by(API_KEY.c.id))
            return [ApiKey(**row._mapping) for row in rows]

    @repeated_on_conflict
    def note_use(self, key_id: str, moment: datetime) -> None:
        """Record when a key was last used."""
        used = update(API_KEY).where(API_KEY.c.id == key_id).values(last_used_at=moment)
        with self._database.write() as db:
            db.execute(used)

    @repeated_on_conflict
    def delete_expired(self, expired_before: datetime, limit: int) -> int:
        """Delete at most `limit` keys that expired before this time; return the number."""
        old = select(API_KEY.c.id).where(API_KEY.c.expires_at < expired_before)
        with self._database.write() as db:
            ids = db.execute(self._database.locking(old.limit(limit))).scalars().all()
            if ids:
                db.execute(delete(API_KEY).where(API_KEY.c.id.in_(ids)))
        return len(ids)


def _live(username: str | None = None, cluster: str | None = None) -> Select[Any]:
    query = select(API_KEY).where(
        API_KEY.c.id == CREDENTIAL.c.id,
        CREDENTIAL.c.revoked_at.is_(None),
        CREDENTIAL.c.expires_at > now(),
    )
    if username is not None:
        query = query.where(API_KEY.c.username == username, API_KEY.c.cluster == cluster)
    return query
