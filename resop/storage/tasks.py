"""Tasks and their steps: written, claimed by one worker, ended once, labelled and deleted.

The database is authoritative. A task that has ended never changes, and at most one worker claims
a task: both are conditions in the statements below, not conventions that callers follow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Row,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from resop.errors import LimitReached
from resop.storage.audit_chain import Appender, AuditChain
from resop.storage.changes import Change
from resop.storage.column_types import UtcDateTime
from resop.storage.database import Database, repeated_on_conflict
from resop.storage.idempotency_keys import INSERT_KEY, find_keys
from resop.storage.ids import lower_bound
from resop.storage.login_ends import LoginEnds
from resop.storage.login_states import login_has_ended
from resop.storage.models import (
    APPROVAL,
    HANDED_OFF,
    STEP,
    STEP_OUTPUT,
    TASK,
    TASK_TAG,
    WEBHOOK_DELIVERY,
    Approval,
    AuditEntry,
    ClaimedTask,
    IdempotencyKey,
    State,
    Step,
    Task,
    WebhookDelivery,
    now,
)
from resop.storage.tags import INSERT_TAG, tag_rows, tag_rows_of

# Built once, because building a statement costs more than running it.
INSERT_TASK = insert(TASK)
INSERT_DELIVERY = insert(WEBHOOK_DELIVERY)
INSERT_APPROVAL = insert(APPROVAL)
_COUNT_WAITING = select(func.count()).select_from(
    # Uses the index task_by_state, and reads no more rows than it counts.
    select(literal_column("1"))
    .where(TASK.c.state == bindparam("state"), TASK.c.worker.is_(None))
    .where(TASK.c.username == bindparam("by"), TASK.c.cluster == bindparam("on"))
    .where(TASK.c.batch.is_(None))
    .limit(bindparam("limit", type_=Integer))
    .subquery()
)
_CLAIM_TIME = bindparam("at", type_=UtcDateTime)
_CLAIM = (
    update(TASK)
    .where(
        TASK.c.id == bindparam("claimed"),
        # A task that was handed off is claimed even then: its step has to be ended.
        or_((TASK.c.state == State.QUEUED) & ~login_has_ended(_CLAIM_TIME), HANDED_OFF),
    )
    .values(
        state=State.RUNNING,
        worker=bindparam("by"),
        started_at=func.coalesce(TASK.c.started_at, _CLAIM_TIME),
    )
)
_CLAIMED_COLUMNS = [TASK.c[each.name] for each in fields(ClaimedTask)]
_CLAIM_RETURNING = _CLAIM.returning(*_CLAIMED_COLUMNS)
_ROWS_OF_TASK = [STEP, STEP_OUTPUT, WEBHOOK_DELIVERY, TASK_TAG]

INSERT_ATTEMPTS = 3
"""Attempts to insert a group when another process inserts one of its keys at the same time."""


class NewTask(NamedTuple):
    """A task to be written, with the rows that belong to it."""

    task: Task
    key: IdempotencyKey | None = None
    audit: AuditEntry | None = None
    approval: Approval | None = None
    """The request for approval of a task that needs one."""


class TaskStore:
    """Reads and writes tasks and steps. Methods block; all raise RecordsUnavailable."""

    def __init__(self, database: Database, audit_chain: AuditChain | None = None) -> None:
        """Write the audit entries of new tasks to `audit_chain`."""
        self._database = database
        self._audit_chain = audit_chain

    # -- create and read

    def add(
        self,
        task: Task,
        *,
        durable: bool = True,
        key: IdempotencyKey | None = None,
        max_queued: int | None = None,
        audit: AuditEntry | None = None,
    ) -> IdempotencyKey | None:
        """Write a new task; `durable` as in `Database.write`: the claim makes it durable too.

        Returns as `add_all` does. Raises LimitReached when `add_all` would return it.
        """
        new = [NewTask(task, key, audit)]
        (refusal,) = self.add_all(new, durable=durable, max_queued=max_queued)
        if isinstance(refusal, LimitReached):
            raise refusal
        return refusal

    @repeated_on_conflict
    def add_all(
        self, new: Sequence[NewTask], *, durable: bool = True, max_queued: int | None = None
    ) -> list[IdempotencyKey | LimitReached | None]:
        """Write new tasks in one transaction, and return None for each one written.

        A task whose idempotency key is already in use is not written: its entry is the existing
        key. A task whose user already has `max_queued` tasks waiting on that cluster, in the queue
        or for approval, is not written either: its entry is LimitReached.
        """
        for remaining in reversed(range(INSERT_ATTEMPTS)):
            try:
                with (
                    self._appender() as appender,
                    self._database.write(durable=durable) as db,
                ):
                    return _insert(db, new, max_queued, appender)
            except IntegrityError:
                # Another process has just written one of the keys: the next attempt finds it.
                if not remaining or not any(each.key for each in new):
                    raise
        raise AssertionError("each attempt returns or raises")

    def _appender(self) -> AbstractContextManager[Appender | None]:
        return self._audit_chain.transaction() if self._audit_chain else nullcontext()

    @repeated_on_conflict
    def make_durable(self, task_id: str) -> None:
        """Flush a task to the disk that was added with `durable=False`."""
        with self._database.write() as db:
            db.execute(update(TASK).where(TASK.c.id == task_id).values(id=task_id))

    def get(self, task_id: str) -> Task | None:
        """Return a task of any user, or None."""
        with self._database.read() as db:
            row = db.execute(select(TASK).where(TASK.c.id == task_id)).one_or_none()
        return None if row is None else Task(**row._mapping)

    def steps(self, task_id: str, *, after: int = 0, output: bool = True) -> list[Step]:
        """Return the steps of a task with a number above `after`, in order.

        Without `output` their standard output and standard error are not read.
        """
        columns = [each for each in STEP.c if output or each.name not in ("stdout", "stderr")]
        query = select(*columns).where(STEP.c.task == task_id, STEP.c.number > after)
        with self._database.read() as db:
            rows = db.execute(query.order_by(STEP.c.number))
            return [Step(**row._mapping) for row in rows]

    # -- run

    def claim(self, task_id: str, worker: str) -> ClaimedTask | None:
        """Claim a queued or handed-off task for `worker`; return None if it must not run."""
        return next(iter(self.claim_all([task_id], worker)), None)

    @repeated_on_conflict
    def claim_all(self, task_ids: Sequence[str], worker: str) -> list[ClaimedTask]:
        """Claim many tasks in one transaction, and return the tasks that `worker` must run.

        A queued task whose login has ended is cancelled instead.
        """
        rows: list[Row[Any]] = []
        with self._database.write() as db:
            for task_id in task_ids:
                claim = {"claimed": task_id, "by": worker, "at": now()}
                if db.dialect.update_returning:
                    rows += db.execute(_CLAIM_RETURNING, claim).all()
                elif db.execute(_CLAIM, claim).rowcount:  # MariaDB
                    query = select(*_CLAIMED_COLUMNS).where(TASK.c.id == task_id)
                    rows += db.execute(query).all()
        claimed = [ClaimedTask(**row._mapping) for row in rows]
        if len(claimed) < len(task_ids):
            unclaimed = set(task_ids) - {task.id for task in claimed}
            LoginEnds(self._database).cancel_unclaimable(sorted(unclaimed))
        return claimed

    @repeated_on_conflict
    def unclaim(self, task_id: str, worker: str) -> bool:
        """Requeue a claimed task of which nothing was sent; return False if it is not claimed."""
        with self._database.write() as db:
            return bool(
                db.execute(
                    update(TASK)
                    .where(TASK.c.id == task_id, TASK.c.state == State.RUNNING)
                    .where(TASK.c.worker == worker)
                    .values(state=State.QUEUED, worker=None, started_at=None)
                ).rowcount
            )

    def apply(self, changes: Sequence[Change], worker: str) -> list[Change]:
        """Write many changes of `worker` in one transaction; return the ones without a row.

        An end is one of these if its task has already ended, or if another worker has resumed it.
        """
        with self._database.write() as db:
            return [
                change
                for change in changes
                if db.execute(change.statement, change.parameters(worker)).rowcount == 0
            ]

    def check(self) -> None:
        """Check that the database can be written; changes nothing."""
        self._database.check()

    @repeated_on_conflict
    def request_cancel(self, task_id: str) -> bool:
        """Record a cancel request for a running task; return False if it is not running."""
        requested_at = func.coalesce(TASK.c.cancel_asked_at, bindparam("at", now(), UtcDateTime))
        with self._database.write() as db:
            return bool(
                db.execute(
                    update(TASK)
                    .where(TASK.c.id == task_id, TASK.c.state == State.RUNNING)
                    .values(cancel_asked_at=requested_at)
                ).rowcount
            )

    def cancel_requested(self, worker: str) -> list[str]:
        """Return the ids of the running tasks of `worker` with a cancel request."""
        query = select(TASK.c.id).where(
            TASK.c.state == State.RUNNING,
            TASK.c.worker == worker,
            TASK.c.cancel_asked_at.is_not(None),
        )
        with self._database.read() as db:
            return list(db.execute(query).scalars())

    def taken(self, task_ids: Collection[str], worker: str) -> list[str]:
        """Return the tasks among these that others than `worker` have resumed, or ended as lost."""
        elsewhere = or_(TASK.c.worker.is_(None), TASK.c.worker != worker)
        taken = or_((TASK.c.state == State.RUNNING) & elsewhere, TASK.c.state == State.LOST)
        with self._database.read() as db:
            query = select(TASK.c.id).where(TASK.c.id.in_(task_ids), taken)
            return list(db.execute(query).scalars())

    @repeated_on_conflict
    def end(
        self,
        task_id: str,
        state: State,
        *,
        when: Sequence[State] = (State.RUNNING,),
        **values: Any,
    ) -> bool:
        """Write the final state of a task in one of the states `when`; return True if written."""
        end = {"state": state, "ended_at": now(), "encrypted_payload": None, **values}
        with self._database.write() as db:
            return bool(
                db.execute(
                    update(TASK).where(TASK.c.id == task_id, TASK.c.state.in_(when)).values(**end)
                ).rowcount
            )

    @repeated_on_conflict
    def take_secrets(self, task_ids: Iterable[str]) -> set[str]:
        """Erase the secrets of answers; return the ids of the tasks that still had them."""
        taken = set()
        with self._database.write() as db:
            for task_id in task_ids:
                mine = TASK.c.id == task_id, TASK.c.state == State.SUCCEEDED
                has_secrets = TASK.c.encrypted_payload.is_not(None)
                erase = update(TASK).where(*mine, has_secrets).values(encrypted_payload=None)
                if db.execute(erase).rowcount:
                    taken.add(task_id)
        return taken

    # -- label and delete

    @repeated_on_conflict
    def label(self, task_id: str, **labels: Any) -> None:
        """Set the `tags` of a task, its `note`, or both, whatever its state."""
        if labels:
            with self._database.write() as db:
                db.execute(update(TASK).where(TASK.c.id == task_id).values(**labels))
                if "tags" in labels:
                    _replace_tags(db, task_id, labels["tags"])

    @repeated_on_conflict
    def delete_ended(self, created_before: datetime, limit: int) -> int:
        """Delete at most `limit` ended tasks created before this time; return the number."""
        old = select(TASK.c.id).where(
            TASK.c.id < lower_bound(created_before),
            TASK.c.state.not_in([state for state in State if not state.ended]),
        )
        with self._database.write() as db:
            # Another worker may be deleting: skip the rows it has locked.
            ids = db.execute(self._database.locking(old.limit(limit))).scalars().all()
            if ids:
                delete_approvals(db, APPROVAL.c.task.in_(ids))
                for table in _ROWS_OF_TASK:
                    db.execute(delete(table).where(table.c.task.in_(ids)))
                db.execute(delete(TASK).where(TASK.c.id.in_(ids)))
        return len(ids)


def delete_approvals(db: Connection, chosen: ColumnElement[bool]) -> None:
    """Delete requests for approval, and the state of their notifications."""
    ids = db.execute(select(APPROVAL.c.id).where(chosen)).scalars().all()
    if ids:
        db.execute(delete(WEBHOOK_DELIVERY).where(WEBHOOK_DELIVERY.c.task.in_(ids)))
        db.execute(delete(APPROVAL).where(APPROVAL.c.id.in_(ids)))


def _insert(
    db: Connection, new: Sequence[NewTask], max_queued: int | None, appender: Appender | None
) -> list[IdempotencyKey | LimitReached | None]:
    """Insert the new tasks that are admitted; return the refusal of each, None if admitted."""
    refusals = list(_refusals(db, new, max_queued))
    admitted = [each for each, refusal in zip(new, refusals, strict=True) if refusal is None]
    notifying = [each.task.id for each in admitted if each.task.notify is not None]
    approvals = [each.approval for each in admitted if each.approval]
    notifying += [each.id for each in approvals if each.notify is not None]
    for statement, rows in (
        (INSERT_KEY, [each.key for each in admitted if each.key]),
        (INSERT_TASK, [each.task for each in admitted]),
        (INSERT_TAG, tag_rows_of(each.task for each in admitted)),
        (INSERT_APPROVAL, approvals),
        (INSERT_DELIVERY, [WebhookDelivery(task=task_id) for task_id in notifying]),
    ):
        if rows:
            db.execute(statement, [row.model_dump() for row in rows])
    entries = [each.audit for each in admitted if each.audit]
    if entries:
        assert appender is not None, "a store without a chain writes no audit entries"
        appender.append(db, entries)  # last, since other threads wait from here to the commit
    return refusals


def _refusals(
    db: Connection, new: Sequence[NewTask], max_queued: int | None
) -> Iterable[IdempotencyKey | LimitReached | None]:
    """Yield why each new task must not be written, None if it may be."""
    used_keys = find_keys(db, [each.key.id for each in new if each.key])
    free_slots: dict[tuple[str, str, str], int] = {}
    for task, key, *_ in new:
        if key is not None and key.id in used_keys:
            yield used_keys[key.id]
            continue
        if max_queued is not None:
            owner = task.username, task.cluster, task.state
            if owner not in free_slots:
                free_slots[owner] = max_queued - _count_waiting(db, *owner, max_queued)
            if free_slots[owner] <= 0:
                yield LimitReached(
                    f"{max_queued} tasks of {task.username} are waiting already; wait, or cancel"
                )
                continue
            free_slots[owner] -= 1
        if key is not None:
            used_keys[key.id] = key
        yield None


def _count_waiting(db: Connection, username: str, cluster: str, state: str, limit: int) -> int:
    """Count the tasks of a user that wait on a cluster in a state, up to `limit`."""
    values = {"by": username, "on": cluster, "state": state, "limit": limit}
    return db.execute(_COUNT_WAITING, values).scalar_one()


def _replace_tags(db: Connection, task_id: str, tags: Iterable[str]) -> None:
    """Replace the rows by which a task is found by its tags."""
    db.execute(delete(TASK_TAG).where(TASK_TAG.c.task == task_id))
    query = select(TASK.c.username, TASK.c.cluster).where(TASK.c.id == task_id)
    owner = db.execute(query).one_or_none()
    rows = [] if owner is None else tag_rows(task_id, owner.username, owner.cluster, tags)
    if rows:
        db.execute(INSERT_TAG, [row.model_dump() for row in rows])
