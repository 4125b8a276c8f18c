"""End logins, and what runs on them: each statement may be repeated, by any process.

A login has ended when it was revoked, has expired, or its user is blocked. Its tasks that are
queued, or wait for approval, are cancelled, and its running ones are marked to be cancelled by
their workers. Only the database decides, so that no message has to arrive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from resop.errors import TaskCancelled
from resop.storage.database import Database, repeated_on_conflict
from resop.storage.login_states import has_ended, is_blocked
from resop.storage.models import (
    BATCH,
    BLOCKED_USER,
    CREDENTIAL,
    MAX_REASON_LENGTH,
    NOT_BEGUN,
    TASK,
    UNENDED,
    BlockedUser,
    State,
    now,
)

CANCELLED_PER_TRANSACTION = 500
"""Queued tasks cancelled in one transaction: others write in between."""
EXPIRED = "it has expired"

# One task each: for several, SQLite would scan all that are queued.
_WAITING_TASK = update(TASK).where(TASK.c.id == bindparam("task"), TASK.c.state.in_(NOT_BEGUN))
_BLOCK_REASON = (
    select(BLOCKED_USER.c.reason)
    .where(
        BLOCKED_USER.c.username == CREDENTIAL.c.username,
        BLOCKED_USER.c.cluster == CREDENTIAL.c.cluster,
    )
    .scalar_subquery()
)
_ENDED_COLUMNS = [
    *(CREDENTIAL.c[name] for name in ("id", "username", "cluster", "keep_running", "end_reason")),
    CREDENTIAL.c.revoked_at,
    CREDENTIAL.c.expires_at,
    _BLOCK_REASON.label("block_reason"),
]


class EndedLogin(NamedTuple):
    """A login whose token is refused."""

    id: str
    username: str
    cluster: str
    keeps_running: bool
    """True if its tasks continue."""
    reason: str
    at: datetime
    """The time of its end."""


@dataclass(slots=True)
class EndedWork:
    """The tasks that were cancelled because their logins have ended."""

    cancelled: int = 0
    """The number of queued tasks that were cancelled now."""
    running: list[str] = field(default_factory=list)
    """The ids of the tasks whose workers still have to end them."""


class LoginEnds:
    """Reads and writes the ends of logins. Methods block; all raise RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- logins

    @repeated_on_conflict
    def end(
        self, ids: Sequence[str], reason: str, *, keep_running: bool = False
    ) -> list[EndedLogin]:
        """End the logins with these ids that have not ended; return them.

        With `keep_running`, the tasks of a login continue and so does its key, until they have all
        ended; this has no effect on a login without tasks.
        """
        with self._database.write() as db:
            return _end(db, CREDENTIAL.c.id.in_(ids), reason, keep_running)

    @repeated_on_conflict
    def end_all(
        self,
        username: str,
        cluster: str,
        reason: str,
        *,
        but: str | None = None,
        keep_running: bool = False,
    ) -> list[EndedLogin]:
        """End all logins of a user on a cluster, except the one with the id `but`."""
        chosen = _of_user(CREDENTIAL, username, cluster)
        if but is not None:
            chosen &= CREDENTIAL.c.id != but
        with self._database.write() as db:
            return _end(db, chosen, reason, keep_running)

    @repeated_on_conflict
    def block(self, blocked: BlockedUser) -> list[EndedLogin]:
        """Block a user, or change the reason of a block, and end the user's logins."""
        of_user = _of_user(BLOCKED_USER, blocked.username, blocked.cluster)
        with self._database.write() as db:
            logins = _of_user(CREDENTIAL, blocked.username, blocked.cluster)
            ended = _end(db, logins, _block_text(blocked.reason))
            reason = blocked.reason[:MAX_REASON_LENGTH]
            values = {"reason": reason, "blocked_by": blocked.blocked_by}
            if not db.execute(update(BLOCKED_USER).where(of_user).values(**values)).rowcount:
                db.execute(insert(BLOCKED_USER), [blocked.model_dump() | values])
        return ended

    @repeated_on_conflict
    def unblock(self, username: str, cluster: str) -> bool:
        """Let a user log in again; return False if the user was not blocked."""
        of_user = _of_user(BLOCKED_USER, username, cluster)
        with self._database.write() as db:
            return bool(db.execute(delete(BLOCKED_USER).where(of_user)).rowcount)

    def blocked(self) -> list[BlockedUser]:
        """Return all blocked users, by name."""
        query = select(BLOCKED_USER).order_by(BLOCKED_USER.c.username, BLOCKED_USER.c.cluster)
        with self._database.read() as db:
            return [BlockedUser(**row._mapping) for row in db.execute(query)]

    @repeated_on_conflict
    def end_blocked(self) -> list[EndedLogin]:
        """End the logins of blocked users that began while the block was written."""
        missed = CREDENTIAL.c.revoked_at.is_(None) & is_blocked()
        with self._database.read() as db:
            if db.execute(select(CREDENTIAL.c.id).where(missed).limit(1)).first() is None:
                return []
        with self._database.write() as db:
            return _end(db, missed, "its user is blocked")

    def ended_since(self, moment: datetime) -> list[EndedLogin]:
        """Return the logins that have ended at this time or later."""
        present = now()
        revoked = CREDENTIAL.c.revoked_at >= moment
        expired = (CREDENTIAL.c.expires_at >= moment) & (CREDENTIAL.c.expires_at <= present)
        query = select(*_ENDED_COLUMNS).where(or_(revoked, expired))
        with self._database.read() as db:
            return [_ended_login(row, present) for row in db.execute(query)]

    def reason_of(self, credential: str) -> str | None:
        """Return why no task of a login may run, or None if they may."""
        present = now()
        query = select(*_ENDED_COLUMNS).where(CREDENTIAL.c.id == credential, has_ended(present))
        with self._database.read() as db:
            row = db.execute(query).one_or_none()
        return None if row is None else _ended_login(row, present).reason

    # -- their tasks

    def end_work(self, logins: Sequence[EndedLogin]) -> EndedWork:
        """Cancel the queued tasks of ended logins, and mark the running ones to be cancelled."""
        work = EndedWork()
        for login in logins:
            if login.keeps_running:
                continue
            error = cancelled_error(login.reason)
            while count := self._cancel_some(login, error):
                work.cancelled += count
            work.running += self._mark_running(login)
        return work

    @repeated_on_conflict
    def _cancel_some(self, login: EndedLogin, error: dict[str, Any]) -> int:
        """Cancel some queued tasks of a login and their batches; return how many."""
        queued = (
            _of_user(TASK, login.username, login.cluster)
            & TASK.c.state.in_(NOT_BEGUN)
            & TASK.c.worker.is_(None)
            & (TASK.c.credential == login.id)
        )
        query = select(TASK.c.id, TASK.c.batch).where(queued).limit(CANCELLED_PER_TRANSACTION)
        with self._database.read() as db:
            found = sorted(tuple(row) for row in db.execute(query))
        if not found:
            return 0
        batches = sorted({batch for _, batch in found if batch is not None})
        with self._database.write() as db:
            unended = BATCH.c.id.in_(batches), BATCH.c.ended_at.is_(None)
            requested_at = func.coalesce(BATCH.c.cancel_asked_at, now())
            db.execute(update(BATCH).where(*unended).values(cancel_asked_at=requested_at))
            return _cancel(db, [task for task, _ in found], error)

    @repeated_on_conflict
    def _mark_running(self, login: EndedLogin) -> list[str]:
        running = (TASK.c.state == State.RUNNING) & (TASK.c.credential == login.id)
        query = select(TASK.c.id, TASK.c.cancel_asked_at).where(running)
        with self._database.read() as db:
            found = sorted(db.execute(query).all(), key=lambda row: row.id)
        unmarked = [row.id for row in found if row.cancel_asked_at is None]
        if unmarked:
            with self._database.write() as db:
                mine = TASK.c.id.in_(unmarked), TASK.c.state == State.RUNNING
                db.execute(update(TASK).where(*mine).values(cancel_asked_at=now()))
        return [row.id for row in found]

    @repeated_on_conflict
    def cancel_unclaimable(self, task_ids: Sequence[str]) -> int:
        """Cancel those of these queued tasks whose logins have ended; return their number."""
        present = now()
        mine = TASK.c.id.in_(task_ids), TASK.c.state == State.QUEUED, has_ended(present)
        query = (
            select(TASK.c.id.label("task"), *_ENDED_COLUMNS)
            .join(CREDENTIAL, CREDENTIAL.c.id == TASK.c.credential)
            .where(*mine)
            .order_by(TASK.c.id)
        )
        with self._database.read() as db:
            rows = db.execute(query).all()
        count = 0
        for reason, tasks in groupby(rows, lambda row: _ended_login(row, present).reason):
            with self._database.write() as db:
                count += _cancel(db, [row.task for row in tasks], cancelled_error(reason))
        return count

    @repeated_on_conflict
    def forget_keys(self) -> list[str]:
        """Erase the keys of revoked logins whose tasks have all ended; return their ids."""
        kept = (
            CREDENTIAL.c.revoked_at.is_not(None)
            & or_(CREDENTIAL.c.keep_running.is_(True), CREDENTIAL.c.encrypted_key.is_not(None))
            & ~_has_tasks(*UNENDED)
        )
        with self._database.read() as db:
            ids = list(db.execute(select(CREDENTIAL.c.id).where(kept)).scalars())
        if ids:
            # As ended from now on, so that every process closes its connections.
            values = {"encrypted_key": None, "keep_running": False, "revoked_at": now()}
            with self._database.write() as db:
                db.execute(update(CREDENTIAL).where(CREDENTIAL.c.id.in_(ids)).values(**values))
        return ids


def cancelled_error(reason: str) -> dict[str, Any]:
    """Return the error of a task that was cancelled while it was queued: its login has ended."""
    fault = TaskCancelled(
        f"the login of this task has ended ({reason}): the task was cancelled before it began",
        ended=True,
    )
    return {**fault.as_json(), "undone": [], "needs_repair": []}


def _end(
    db: Connection, chosen: ColumnElement[bool], reason: str, keep_running: bool = False
) -> list[EndedLogin]:
    """End the chosen logins that have not ended, and erase the keys that no task needs."""
    present = now()
    # A login whose tasks were kept running is ended again, unless they are kept again.
    open_ones = or_(
        CREDENTIAL.c.revoked_at.is_(None),
        *([] if keep_running else [CREDENTIAL.c.keep_running.is_(True)]),
    )
    query = select(
        *(CREDENTIAL.c[name] for name in ("id", "username", "cluster")),
        _has_tasks(*UNENDED).label("has_tasks"),
        _has_tasks(State.RUNNING).label("has_steps"),
    ).where(chosen, open_ones, CREDENTIAL.c.expires_at > present)
    ended = []
    for row in db.execute(query.order_by(CREDENTIAL.c.id)).all():
        keeps = keep_running and bool(row.has_tasks)
        # Without its key, a step that has lost its connection could not be found and ended.
        needs_key = keeps or bool(row.has_steps)
        values = {
            "revoked_at": present,
            "end_reason": reason[:MAX_REASON_LENGTH],
            "keep_running": keeps,
        } | ({} if needs_key else {"encrypted_key": None})
        db.execute(update(CREDENTIAL).where(CREDENTIAL.c.id == row.id).values(**values))
        ended.append(EndedLogin(row.id, row.username, row.cluster, keeps, reason, present))
    return ended


def _cancel(db: Connection, task_ids: Sequence[str], error: dict[str, Any]) -> int:
    """Cancel the tasks that still wait; return how many did."""
    end = {"state": State.CANCELLED, "ended_at": now(), "encrypted_payload": None, "error": error}
    statement = _WAITING_TASK.values(**end)
    return sum(db.execute(statement, {"task": task_id}).rowcount for task_id in task_ids)


def _has_tasks(*states: State) -> ColumnElement[bool]:
    """Return the condition that a credential has tasks in these states."""
    in_state = {
        each: (TASK.c.state == each) & TASK.c.worker.is_(None)  # by the index
        for each in NOT_BEGUN
    } | {State.RUNNING: TASK.c.state == State.RUNNING}
    return exists().where(
        or_(*(in_state[state] for state in states)),
        TASK.c.username == CREDENTIAL.c.username,
        TASK.c.cluster == CREDENTIAL.c.cluster,
        TASK.c.credential == CREDENTIAL.c.id,
    )


def _ended_login(row: Row[Any], present: datetime) -> EndedLogin:
    revoked = row.revoked_at is not None and row.revoked_at <= row.expires_at
    expired = row.expires_at <= present
    reason = row.end_reason if revoked else EXPIRED if expired else ""
    if not reason and row.block_reason is not None:
        reason = _block_text(row.block_reason)
    keeps = bool(row.keep_running) and not expired and row.block_reason is None
    at = row.revoked_at if revoked else row.expires_at
    return EndedLogin(row.id, row.username, row.cluster, keeps, reason or "it was ended", at)


def _block_text(reason: str) -> str:
    return f"its user is blocked: {reason}"


def _of_user(table: Any, username: str, cluster: str) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = (table.c.username == username) & (table.c.cluster == cluster)
    return condition
