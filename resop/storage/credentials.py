"""Credentials: written at login, read to open a session, revoked at logout."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from resop.errors import LimitReached, UserBlocked
from resop.security.identity import Identity
from resop.storage.database import Database, repeated_on_conflict
from resop.storage.login_states import is_live
from resop.storage.models import (
    API_KEY,
    BLOCKED_USER,
    CREDENTIAL,
    MAX_REASON_LENGTH,
    TASK,
    UNENDED,
    Credential,
    now,
)
from resop.storage.users import is_user

BUSY_LOGINS_SECONDS = 60
"""The Retry-After of a user whose logins all have waiting or running tasks."""


LOGGED_OUT = "logged out"
"""The reason of a logout, which removes what the login left on the cluster."""
LOGOUT_TIME = timedelta(minutes=1)
"""How long only the logout itself removes that: it needs the key for it."""


class CredentialStore:
    """Reads and writes credentials. Methods block; all raise RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @repeated_on_conflict
    def add(self, credential: Credential) -> None:
        """Write a new credential, and erase the encrypted keys of expired ones.

        Raises UserBlocked, and writes an ended one, if the user may not log in to this cluster.
        """
        blocked = select(BLOCKED_USER.c.reason).where(
            BLOCKED_USER.c.username == credential.username,
            BLOCKED_USER.c.cluster == credential.cluster,
        )
        row = credential.model_dump()
        with self._database.write() as db:
            reason = db.execute(blocked).scalar()
            if reason is not None:
                # Ended from the start, so that the worker that holds its connection closes it.
                row |= {"revoked_at": now(), "encrypted_key": None}
            db.execute(
                update(CREDENTIAL)
                .where(CREDENTIAL.c.expires_at < now(), CREDENTIAL.c.encrypted_key.is_not(None))
                .values(encrypted_key=None)
            )
            db.execute(insert(CREDENTIAL), [row])
        if reason is not None:
            raise UserBlocked(
                f"an administrator of this service has blocked {credential.username} on "
                f"{credential.cluster}: {reason}"
            )

    def add_first(self, credential: Credential) -> bool:
        """Write a credential; return False if there is one with its id, whether live or not."""
        try:
            self.add(credential)
        except IntegrityError:
            return False
        return True

    def find(self, credential_id: str) -> Credential | None:
        """Return a credential, even if it has ended, as long as it is not deleted."""
        with self._database.read() as db:
            row = db.execute(
                select(CREDENTIAL).where(CREDENTIAL.c.id == credential_id)
            ).one_or_none()
        return None if row is None else Credential(**row._mapping)

    def get(self, credential_id: str) -> Credential | None:
        """Return a credential; None if it is unknown, revoked or expired, or its user blocked."""
        return self._read(CREDENTIAL.c.id == credential_id, is_live(now()))

    def usable(self, credential_id: str) -> Credential | None:
        """Return a credential that tasks may need, even if its token is refused; else None.

        Tasks may have been kept running at logout, and running ones have to be ended.
        """
        present = now()
        kept = CREDENTIAL.c.keep_running.is_(True) | CREDENTIAL.c.encrypted_key.is_not(None)
        return self._read(
            CREDENTIAL.c.id == credential_id,
            CREDENTIAL.c.expires_at > present,
            or_(kept, is_live(present)),
        )

    def _read(self, *conditions: ColumnElement[bool]) -> Credential | None:
        with self._database.read() as db:
            row = db.execute(select(CREDENTIAL).where(*conditions)).one_or_none()
        return None if row is None else Credential(**row._mapping)

    def groups(self, credential_id: str) -> list[str] | None:
        """Return the groups recorded at a login, even if the credential has ended since."""
        query = select(CREDENTIAL.c.remote_groups).where(CREDENTIAL.c.id == credential_id)
        with self._database.read() as db:
            groups: list[str] | None = db.execute(query).scalar()
        return groups

    def uid(self, credential_id: str) -> int | None:
        """Return the account's number at login, even if the credential has ended since."""
        query = select(CREDENTIAL.c.uid).where(CREDENTIAL.c.id == credential_id)
        with self._database.read() as db:
            number: int | None = db.execute(query).scalar()
        return number

    def live(self, user: str | None = None) -> list[Credential]:
        """Return the live credentials of one user, or of all users, oldest first.

        `user` is `name@cluster`, or a name, which means that name on every cluster.
        """
        query = select(CREDENTIAL).where(is_live(now()))
        if user is not None:
            query = query.where(is_user(CREDENTIAL, user))
        with self._database.read() as db:
            rows = db.execute(query.order_by(CREDENTIAL.c.id))
            return [Credential(**row._mapping) for row in rows]

    def surplus(self, username: str, cluster: str, most: int) -> list[str]:
        """Return the ids of the logins to end so that a user keeps `most`: the oldest idle ones.

        A login with a waiting or running task is not idle; API keys are no logins. Raises
        LimitReached if too few are.
        """
        oldest_first = (
            select(CREDENTIAL.c.id)
            .where(
                CREDENTIAL.c.username == username,
                CREDENTIAL.c.cluster == cluster,
                CREDENTIAL.c.revoked_at.is_(None),
                CREDENTIAL.c.expires_at > now(),
                CREDENTIAL.c.id.not_in(select(API_KEY.c.id)),
            )
            .order_by(CREDENTIAL.c.created_at, CREDENTIAL.c.id)
        )
        unfinished = (
            select(TASK.c.credential)
            .distinct()
            .where(
                TASK.c.username == username,
                TASK.c.cluster == cluster,
                TASK.c.state.in_(UNENDED),
            )
        )
        with self._database.read() as db:
            live = list(db.execute(oldest_first).scalars())
            surplus = max(0, len(live) - most)
            busy = set(db.execute(unfinished).scalars()) if surplus else set()
        idle = [each for each in live if each not in busy]
        if len(idle) < surplus:
            raise LimitReached(
                f"{username} has {len(live)} logins to {cluster}, and tasks wait or run with each "
                "of them: log out with the token of one, or wait until a task has ended",
                retry_after=BUSY_LOGINS_SECONDS,
                limit="logins_per_user",
            )
        return idle[:surplus]

    def erased(self, username: str, cluster: str) -> list[str]:
        """Return the ids of a user's logins that were ended and whose keys nobody can use.

        Logins that log out at the moment are left out.
        """
        not_by_itself = CREDENTIAL.c.end_reason != LOGGED_OUT
        query = select(CREDENTIAL.c.id).where(
            CREDENTIAL.c.username == username,
            CREDENTIAL.c.cluster == cluster,
            CREDENTIAL.c.revoked_at.is_not(None),
            CREDENTIAL.c.encrypted_key.is_(None),
            or_(not_by_itself, CREDENTIAL.c.revoked_at < now() - LOGOUT_TIME),
        )
        with self._database.read() as db:
            return list(db.execute(query).scalars())

    def live_of(self, identity: Identity) -> list[Credential]:
        """Return the live credentials of exactly this user, oldest first."""
        query = select(CREDENTIAL).where(
            CREDENTIAL.c.username == identity.username,
            CREDENTIAL.c.cluster == identity.cluster,
            is_live(now()),
        )
        with self._database.read() as db:
            rows = db.execute(query.order_by(CREDENTIAL.c.id))
            return [Credential(**row._mapping) for row in rows]

    @repeated_on_conflict
    def note_use(self, credential_ids: Iterable[str], minute: datetime) -> None:
        """Record that tokens of these credentials were used in this minute."""
        unnoted = or_(CREDENTIAL.c.last_used_at.is_(None), CREDENTIAL.c.last_used_at < minute)
        mine = CREDENTIAL.c.id.in_(sorted(credential_ids)), unnoted
        with self._database.write(durable=False) as db:
            db.execute(update(CREDENTIAL).where(*mine).values(last_used_at=minute))

    def revoked_certificates(self) -> list[str]:
        """Return the ids of the certificates that were revoked before their end."""
        query = select(CREDENTIAL.c.id).where(
            CREDENTIAL.c.kind == "certificate",
            CREDENTIAL.c.revoked_at.is_not(None),
            CREDENTIAL.c.expires_at > now(),
        )
        with self._database.read() as db:
            return list(db.execute(query.order_by(CREDENTIAL.c.id)).scalars())

    @repeated_on_conflict
    def delete_expired(self, expired_before: datetime, limit: int) -> int:
        """Delete at most `limit` credentials that expired before this time; return the number."""
        old = select(CREDENTIAL.c.id).where(CREDENTIAL.c.expires_at < expired_before)
        with self._database.write() as db:
            ids = db.execute(self._database.locking(old.limit(limit))).scalars().all()
            if ids:
                db.execute(delete(CREDENTIAL).where(CREDENTIAL.c.id.in_(ids)))
        return len(ids)

    @repeated_on_conflict
    def revoke(self, credential_id: str, reason: str = "") -> bool:
        """Revoke a credential and erase its key; return True if this call revoked it."""
        values = {"revoked_at": now(), "end_reason": reason[:MAX_REASON_LENGTH]}
        with self._database.write() as db:
            return bool(
                db.execute(
                    update(CREDENTIAL)
                    .where(CREDENTIAL.c.id == credential_id, CREDENTIAL.c.revoked_at.is_(None))
                    .values(encrypted_key=None, **values)
                ).rowcount
            )
