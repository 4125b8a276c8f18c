"""Requests for approval: read, decided once, and ended when their time is over.

A decision, its audit entry and the tasks that it lets run or ends are one transaction. Only the
database decides: of two decisions, or a decision and a cancellation, at the same time one wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, exists, or_, select, update

from resop.errors import ResopError
from resop.storage.audit_chain import AuditChain
from resop.storage.batch_dispatch import end_batches
from resop.storage.database import Database, repeated_on_conflict
from resop.storage.login_states import has_ended, is_live
from resop.storage.models import (
    APPROVAL,
    BLOCKED_USER,
    CREDENTIAL,
    TASK,
    Approval,
    ApprovalState,
    AuditEntry,
    State,
    now,
)

_OPEN = APPROVAL.c.state == ApprovalState.PENDING
_WAITS = TASK.c.state == State.PENDING_APPROVAL
_HAS_WAITING_TASK = or_(
    exists().where(TASK.c.id == APPROVAL.c.task, _WAITS),
    exists().where(TASK.c.batch == APPROVAL.c.batch, _WAITS),
)


class WaitingTask(NamedTuple):
    """A task that waits for approval, with its payload."""

    id: str
    number: int | None
    """Its number in its batch."""
    encrypted_payload: bytes | None
    command: str | None
    parameters: dict[str, Any] | None


class _NothingWaits(Exception):
    """Roll a decision back: its task has ended."""


class ApprovalStore:
    """Reads and writes requests for approval. Methods block; all raise RecordsUnavailable."""

    def __init__(self, database: Database, audit_chain: AuditChain | None = None) -> None:
        """Write the audit entries of decisions to `audit_chain`; without one, only read."""
        self._database = database
        self._audit_chain = audit_chain

    def get(self, approval_id: str) -> Approval | None:
        """Return a request of any user, or None."""
        return self._first(APPROVAL.c.id == approval_id)

    def of_batch(self, batch_id: str) -> Approval | None:
        """Return the request of a batch, or None if it needed no approval."""
        return self._first(APPROVAL.c.batch == batch_id)

    def waiting(self, limit: int, after: str = "") -> list[Approval]:
        """Return a page of the requests that can be decided, oldest first, after the last id."""
        query = select(APPROVAL).where(
            _OPEN, APPROVAL.c.expires_at > now(), APPROVAL.c.id > after, _HAS_WAITING_TASK
        )
        return self._all(query.order_by(APPROVAL.c.id).limit(limit))

    def has_waiting_task(self, approval: Approval) -> bool:
        """Return True if a task still waits for the decision."""
        query = select(TASK.c.id).where(_tasks_of(approval), _WAITS)
        with self._database.read() as db:
            return db.execute(query.limit(1)).first() is not None

    def tasks(self, approval: Approval, limit: int, after: int = -1) -> list[WaitingTask]:
        """Return some tasks that wait for a request, by number; `after` is the last one seen."""
        columns = [TASK.c[name] for name in WaitingTask._fields]
        query = select(*columns).where(_tasks_of(approval), _WAITS)
        if approval.batch is not None:
            query = query.where(TASK.c.number > after)
        with self._database.read() as db:
            rows = db.execute(query.order_by(TASK.c.number).limit(limit))
            return [WaitingTask(*row) for row in rows]

    def is_blocked(self, username: str, cluster: str) -> bool:
        """Return True if an administrator has blocked this user."""
        query = select(BLOCKED_USER.c.username).where(
            BLOCKED_USER.c.username == username, BLOCKED_USER.c.cluster == cluster
        )
        with self._database.read() as db:
            return db.execute(query).first() is not None

    @repeated_on_conflict
    def decide(self, decided: Approval, entry: AuditEntry, error: ResopError | None = None) -> bool:
        """Record a decision: queue the tasks of the request, or end them with `error`.

        Returns False, and writes nothing, if the request has been decided or has expired, if no
        task waits for it any more, if the requester's login has ended, or that of the decider.
        """
        columns = ("state", "decided_at", "decided_by", "decided_on", "decided_with")
        values = {name: getattr(decided, name) for name in (*columns, "reason", "signature")}
        present = now()
        deciders = CREDENTIAL.c.id == decided.decided_with, is_live(present)
        allowed = (
            APPROVAL.c.expires_at > present,
            exists().where(*deciders),
            ~exists().where(CREDENTIAL.c.id == decided.credential, has_ended(present)),
        )
        end = None if error is None else _end(State.FAILED, error)
        return self._settle(decided, values, end, entry, *allowed)

    @repeated_on_conflict
    def expire(self, approval: Approval, entry: AuditEntry, error: ResopError) -> bool:
        """End the tasks of a request that has expired; return False if it is decided already."""
        values = {"state": ApprovalState.EXPIRED}
        end = _end(State.TIMED_OUT, error)
        due = APPROVAL.c.expires_at <= now()
        if self._settle(approval, values, end, entry, due):
            return True
        with self._database.write() as db:
            withdrawn = update(APPROVAL).where(APPROVAL.c.id == approval.id, _OPEN, due)
            db.execute(withdrawn.values(state=ApprovalState.WITHDRAWN))
        return False

    def expired(self, limit: int) -> list[Approval]:
        """Return requests whose time is over and that nobody has ended yet."""
        query = select(APPROVAL).where(_OPEN, APPROVAL.c.expires_at <= now())
        return self._all(query.order_by(APPROVAL.c.expires_at).limit(limit))

    def _settle(
        self,
        approval: Approval,
        values: Mapping[str, Any],
        end: Mapping[str, Any] | None,
        entry: AuditEntry,
        *conditions: ColumnElement[bool],
    ) -> bool:
        """Write the end of an open request with its audit entry, unless nothing waits for it."""
        assert self._audit_chain is not None, "this store only reads"
        chosen = update(APPROVAL).where(APPROVAL.c.id == approval.id, _OPEN, *conditions)
        try:
            with self._audit_chain.transaction() as appender, self._database.write() as db:
                if not db.execute(chosen.values(**values)).rowcount:
                    return False
                _settle_tasks(db, approval, end)
                appender.append(db, [entry])
        except _NothingWaits:
            return False
        return True

    def _first(self, condition: ColumnElement[bool]) -> Approval | None:
        return next(iter(self._all(select(APPROVAL).where(condition).limit(1))), None)

    def _all(self, query: Select[Any]) -> list[Approval]:
        with self._database.read() as db:
            return [Approval(**row._mapping) for row in db.execute(query)]


def _settle_tasks(db: Connection, approval: Approval, end: Mapping[str, Any] | None) -> None:
    """Queue the tasks of a request, or end them; raise _NothingWaits if there are none."""
    values = {"state": State.QUEUED, "approved_at": now()} if end is None else end
    waiting = _tasks_of(approval) & _WAITS
    if not db.execute(update(TASK).where(waiting).values(**values)).rowcount:
        raise _NothingWaits
    if end is not None and approval.batch is not None:
        end_batches(db, [approval.batch])


def _tasks_of(approval: Approval) -> ColumnElement[bool]:
    """Return the condition that a task is the one of the request, or one of its batch."""
    if approval.batch is not None:
        return TASK.c.batch == approval.batch
    return TASK.c.id == approval.task


def _end(state: State, error: ResopError) -> dict[str, Any]:
    """Return the columns of a task that ends without having begun."""
    recorded = {**error.as_json(), "undone": [], "needs_repair": []}
    return {"state": state, "ended_at": now(), "encrypted_payload": None, "error": recorded}
