"""The record: what is asked of and written to its tables (`resop.storage.models`).

The database is what is true. A task that has ended never changes, and a task is claimed by one
worker, ever: both are conditions in the statements below, not habits of their callers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Integer,
    Row,
    Update,
    and_,
    bindparam,
    case,
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
from resop.storage.audit_log import ADD_ENTRY, AuditEntry
from resop.storage.column_types import UtcDateTime
from resop.storage.database import Database
from resop.storage.models import (
    CREDENTIAL,
    IDEMPOTENCY_KEY,
    STEP,
    STEP_OUTPUT,
    TASK,
    WEBHOOK_DELIVERY,
    WORKER,
    ClaimedTask,
    Credential,
    IdempotencyKey,
    State,
    Step,
    StepOutput,
    Task,
    WebhookDelivery,
    now,
)
from resop.storage.tags import ADD_TAGGED, tag_rows

# Running and nobody's: another worker has left it.
_HANDED_OFF = and_(TASK.c.state == State.RUNNING, TASK.c.worker.is_(None), TASK.c.resume_count > 0)

# The statements of every task's way are made once: to make one costs more than to run it.
_ADD = insert(TASK)
_QUEUED = select(func.count()).select_from(
    # By `task_by_state`: it reads what it counts, however long the table is.
    select(literal_column("1"))
    .where(TASK.c.state == State.QUEUED, TASK.c.worker.is_(None))
    .where(TASK.c.username == bindparam("by"), TASK.c.cluster == bindparam("on"))
    .where(TASK.c.batch.is_(None))
    .limit(bindparam("most", type_=Integer))
    .subquery()
)
_ADD_KEY = insert(IDEMPOTENCY_KEY)
_ADD_NOTIFICATION = insert(WEBHOOK_DELIVERY)
_ADD_STEP = insert(STEP)
_ADD_OUTPUT = insert(STEP_OUTPUT)
_CLAIM = (
    update(TASK)
    .where(TASK.c.id == bindparam("claimed"), or_(TASK.c.state == State.QUEUED, _HANDED_OFF))
    .values(
        state=State.RUNNING,
        worker=bindparam("by"),
        started_at=func.coalesce(TASK.c.started_at, bindparam("at", type_=UtcDateTime)),
    )
)
_CLAIMED = [TASK.c[each.name] for each in fields(ClaimedTask)]
_CLAIM_RETURNING = _CLAIM.returning(*_CLAIMED)
_RESULT = (
    *("state", "ended_at", "seconds", "output", "stderr", "exit_code", "truncated"),
    *("log", "progress", "error", "pending_undo", "encrypted_payload"),
)
_STEP = update(STEP).where(
    STEP.c.task == bindparam("of_task"), STEP.c.number == bindparam("of_number")
)
_RUNNING = update(TASK).where(TASK.c.id == bindparam("of_task"), TASK.c.state == State.RUNNING)
_NO_RESULT = dict.fromkeys(_RESULT) | {"truncated": False, "log": []}


KEY_TRIES = 3


class NewTask(NamedTuple):
    """A task that is to be written."""

    task: Task
    key: IdempotencyKey | None = None
    audit: AuditEntry | None = None
    """Written with it, or not at all."""


class Orphan(NamedTuple):
    """A running task whose worker is dead."""

    id: str
    cluster: str
    worker: str
    resume_count: int | None
    pending_undo: list[str] | None


class Records(Database):
    """Every query on the record. Methods block; all raise RecordsUnavailable."""

    # -- tasks

    def add_task(
        self,
        task: Task,
        *,
        flushed: bool = True,
        key: IdempotencyKey | None = None,
        most_queued: int | None = None,
        audit: AuditEntry | None = None,
    ) -> IdempotencyKey | None:
        """Write a new task; `flushed` as in `write`: to claim the task flushes it too.

        Returns as `add_tasks` does, and raises its LimitReached.
        """
        new = [NewTask(task, key, audit)]
        (refused,) = self.add_tasks(new, flushed=flushed, most_queued=most_queued)
        if isinstance(refused, LimitReached):
            raise refused
        return refused

    def add_tasks(
        self, new: Sequence[NewTask], *, flushed: bool = True, most_queued: int | None = None
    ) -> list[IdempotencyKey | LimitReached | None]:
        """Write new tasks in one transaction; None for each that was written.

        Nothing is written of one with a key that an earlier task has: that one's key is returned;
        nor of one whose user has `most_queued` tasks that wait on that cluster: LimitReached.
        """
        for tries_left in reversed(range(KEY_TRIES)):
            try:
                with self.write(flushed=flushed) as db:
                    return _add(db, new, most_queued)
            except IntegrityError:
                # Another process has just written one of the keys: now it is seen.
                if not tries_left or not any(each.key for each in new):
                    raise
        raise AssertionError("each try returns or raises")

    def flush_task(self, task_id: str) -> None:
        """Make sure that a task that was not flushed is on the disk."""
        with self.write() as db:
            db.execute(update(TASK).where(TASK.c.id == task_id).values(id=task_id))

    def task(self, task_id: str) -> Task | None:
        """One task, whoever's it is."""
        with self.read() as db:
            row = db.execute(select(TASK).where(TASK.c.id == task_id)).one_or_none()
        return None if row is None else Task(**row._mapping)

    def claim(self, task_id: str, worker: str) -> ClaimedTask | None:
        """Make `worker` the one that runs a task that is queued, or was left by another worker.

        None when it is not to be run.
        """
        return next(iter(self.claim_all([task_id], worker)), None)

    def claim_all(self, task_ids: Sequence[str], worker: str) -> list[ClaimedTask]:
        """Claim many in one transaction; those that are to be run."""
        rows: list[Row[Any]] = []
        with self.write() as db:
            for task_id in task_ids:
                claim = {"claimed": task_id, "by": worker, "at": now()}
                if db.dialect.update_returning:
                    rows += db.execute(_CLAIM_RETURNING, claim).all()
                elif db.execute(_CLAIM, claim).rowcount:  # MariaDB
                    rows += db.execute(select(*_CLAIMED).where(TASK.c.id == task_id)).all()
        return [ClaimedTask(**row._mapping) for row in rows]

    def unclaim(self, task_id: str, worker: str) -> bool:
        """Put a claimed task of which nothing was sent back into the queue."""
        with self.write() as db:
            return bool(
                db.execute(
                    update(TASK)
                    .where(TASK.c.id == task_id, TASK.c.state == State.RUNNING)
                    .where(TASK.c.worker == worker)
                    .values(state=State.QUEUED, worker=None, started_at=None)
                ).rowcount
            )

    def end(
        self, task_id: str, state: State, *, when: State = State.RUNNING, **values: Any
    ) -> bool:
        """Write a task's final state unless it has one; tell whether this call wrote it."""
        with self.write() as db:
            return bool(db.execute(_ended(task_id, state, when, values)).rowcount)

    def ask_to_cancel(self, task_id: str) -> bool:
        """Mark a running task as one to be cancelled; tell whether it runs."""
        asked = func.coalesce(TASK.c.cancel_asked_at, bindparam("at", now(), UtcDateTime))
        with self.write() as db:
            return bool(
                db.execute(
                    update(TASK)
                    .where(TASK.c.id == task_id, TASK.c.state == State.RUNNING)
                    .values(cancel_asked_at=asked)
                ).rowcount
            )

    def to_cancel(self, worker: str) -> list[str]:
        """The running tasks of a worker that are marked."""
        query = select(TASK.c.id).where(
            TASK.c.state == State.RUNNING,
            TASK.c.worker == worker,
            TASK.c.cancel_asked_at.is_not(None),
        )
        with self.read() as db:
            return list(db.execute(query).scalars())

    def apply(self, changes: Sequence[Change]) -> None:
        """Apply many changes in one transaction."""
        with self.write() as db:
            for change in changes:
                db.execute(change.statement, change.values)

    # -- steps

    def steps(self, task_id: str, *, after: int = 0, output: bool = True) -> list[Step]:
        """A task's steps in order, from the one after number `after` on."""
        columns = [each for each in STEP.c if output or each.name not in ("stdout", "stderr")]
        query = select(*columns).where(STEP.c.task == task_id, STEP.c.number > after)
        with self.read() as db:
            rows = db.execute(query.order_by(STEP.c.number))
            return [Step(**row._mapping) for row in rows]

    # -- keys

    def key(self, key_id: str) -> IdempotencyKey | None:
        """A key that some task has."""
        with self.read() as db:
            row = db.execute(
                select(IDEMPOTENCY_KEY).where(IDEMPOTENCY_KEY.c.id == key_id)
            ).one_or_none()
        return None if row is None else IdempotencyKey(**row._mapping)

    def forget_key(self, key_id: str) -> None:
        """The request of a key may be made again."""
        with self.write() as db:
            db.execute(delete(IDEMPOTENCY_KEY).where(IDEMPOTENCY_KEY.c.id == key_id))

    def forget_old_keys(self, created_before: datetime, limit: int) -> int:
        """Forget the keys of that age, at most so many; how many there were."""
        old = (
            select(IDEMPOTENCY_KEY.c.id)
            .where(IDEMPOTENCY_KEY.c.created_at < created_before)
            .limit(limit)
        )
        with self.write() as db:
            # Those of another worker that does the same are left to it.
            found = db.execute(old.with_for_update(skip_locked=True)).scalars().all()
            if found:
                db.execute(delete(IDEMPOTENCY_KEY).where(IDEMPOTENCY_KEY.c.id.in_(found)))
        return len(found)

    # -- credentials

    def add_credential(self, credential: Credential) -> None:
        """Write a new credential; sweep the sealed keys of those that have expired."""
        with self.write() as db:
            db.execute(
                update(CREDENTIAL)
                .where(CREDENTIAL.c.expires_at < now(), CREDENTIAL.c.encrypted_key.is_not(None))
                .values(encrypted_key=None)
            )
            db.execute(insert(CREDENTIAL), [credential.model_dump()])

    def credential(self, credential_id: str) -> Credential | None:
        """A credential that is neither revoked nor expired, else None."""
        query = select(CREDENTIAL).where(
            CREDENTIAL.c.id == credential_id,
            CREDENTIAL.c.revoked_at.is_(None),
            CREDENTIAL.c.expires_at > now(),
        )
        with self.read() as db:
            row = db.execute(query).one_or_none()
        return None if row is None else Credential(**row._mapping)

    def groups(self, credential_id: str) -> list[str] | None:
        """What a credential's user belongs to; also when that has ended."""
        query = select(CREDENTIAL.c.remote_groups).where(CREDENTIAL.c.id == credential_id)
        with self.read() as db:
            groups: list[str] | None = db.execute(query).scalar()
        return groups

    def credentials(self, username: str | None = None) -> list[Credential]:
        """Those that are live, oldest first; of one user, or of all."""
        query = select(CREDENTIAL).where(
            CREDENTIAL.c.revoked_at.is_(None), CREDENTIAL.c.expires_at > now()
        )
        if username is not None:
            query = query.where(CREDENTIAL.c.username == username)
        with self.read() as db:
            rows = db.execute(query.order_by(CREDENTIAL.c.id))
            return [Credential(**row._mapping) for row in rows]

    def forget_old_credentials(self, expired_before: datetime, limit: int) -> int:
        """Forget those that had expired by then, at most so many; how many there were."""
        old = select(CREDENTIAL.c.id).where(CREDENTIAL.c.expires_at < expired_before)
        with self.write() as db:
            found = db.execute(old.limit(limit).with_for_update(skip_locked=True)).scalars().all()
            if found:
                db.execute(delete(CREDENTIAL).where(CREDENTIAL.c.id.in_(found)))
        return len(found)

    def revoke(self, credential_id: str) -> bool:
        """End a credential and forget its key; tell whether this call ended it."""
        with self.write() as db:
            return bool(
                db.execute(
                    update(CREDENTIAL)
                    .where(CREDENTIAL.c.id == credential_id, CREDENTIAL.c.revoked_at.is_(None))
                    .values(revoked_at=now(), encrypted_key=None)
                ).rowcount
            )

    # -- workers and what they leave behind

    def heartbeat(self, worker: str) -> None:
        """Say that a worker is alive."""
        with self.write() as db:
            known = db.execute(
                update(WORKER).where(WORKER.c.id == worker).values(seen_at=now())
            ).rowcount
            if not known:
                db.execute(insert(WORKER), [{"id": worker, "seen_at": now()}])

    def forget_worker(self, worker: str) -> None:
        """A worker has stopped in order."""
        with self.write() as db:
            db.execute(delete(WORKER).where(WORKER.c.id == worker))

    def orphans(self, seen_before: datetime) -> list[Orphan]:
        """The running tasks whose worker was not seen since."""
        alive = select(WORKER.c.id).where(WORKER.c.seen_at >= seen_before)
        columns = [TASK.c[name] for name in Orphan._fields]
        query = select(*columns).where(
            TASK.c.state == State.RUNNING,
            TASK.c.worker.is_not(None),
            TASK.c.worker.not_in(alive),
            # A fresh worker claims before its first heartbeat is due.
            TASK.c.started_at < seen_before,
        )
        with self.read() as db:
            return [Orphan(*row) for row in db.execute(query)]

    def hand_over(self, task_id: str, worker: str) -> bool:
        """Let another worker take up what `worker` ran; tell whether it was still its own."""
        chosen = TASK.c.id == task_id, TASK.c.state == State.RUNNING, TASK.c.worker == worker
        values = {"worker": None, "resume_count": TASK.c.resume_count + 1}
        with self.write() as db:
            return bool(db.execute(update(TASK).where(*chosen).values(values)).rowcount)

    def waiting(self, created_before: datetime, limit: int) -> list[tuple[str, str, str]]:
        """(task, cluster, worker) of those queued or left by a worker before that moment.

        Oldest first; those of a batch are queued when they are dealt out. The worker is the one
        that keeps the session of the task's login, else it is empty.
        """
        since = case((TASK.c.batch.is_(None), TASK.c.created_at), else_=TASK.c.dispatched_at)
        query = (
            select(TASK.c.id, TASK.c.cluster, func.coalesce(CREDENTIAL.c.worker, ""))
            .outerjoin(CREDENTIAL, CREDENTIAL.c.id == TASK.c.credential)
            .where(
                or_(TASK.c.state == State.QUEUED, _HANDED_OFF),
                since < created_before,
            )
            .order_by(TASK.c.id)
            .limit(limit)
        )
        with self.read() as db:
            return [tuple(row) for row in db.execute(query)]

    def end_unheld(self, seen_before: datetime, error: Mapping[str, Any]) -> int:
        """End the queued tasks whose session was kept by a worker that was not seen since.

        Those of batches that are still to be dealt out, too; how many they were.
        """
        alive = select(WORKER.c.id).where(WORKER.c.seen_at >= seen_before)
        kept_by = CREDENTIAL.c.worker
        chosen = (
            TASK.c.state == State.QUEUED,
            TASK.c.created_at < seen_before,  # a fresh worker logs in before it is heard of
            TASK.c.credential.in_(
                select(CREDENTIAL.c.id).where(kept_by.is_not(None), kept_by.not_in(alive))
            ),
        )
        with self.read() as db:
            if db.execute(select(TASK.c.id).where(*chosen).limit(1)).first() is None:
                return 0
        ended = {
            "state": State.FAILED,
            "ended_at": now(),
            "encrypted_payload": None,
            "error": error,
        }
        with self.write() as db:
            return db.execute(update(TASK).where(*chosen).values(**ended)).rowcount


class Change:
    """A statement to be written together with others by `Records.apply`."""

    __slots__ = ("result", "statement", "task", "values", "whose")

    def __init__(
        self,
        task: str,
        statement: Any,
        values: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        self.task = task
        self.statement = statement
        self.values = values
        self.result: dict[str, Any] | None = None
        """The columns of a task that ends."""
        self.whose = ""
        """Whose task ends, where that is known: see `resop.messaging.publisher.whose`."""

    @classmethod
    def step_begun(cls, step: Step) -> Change:
        """A step is about to be sent."""
        return cls(step.task, _ADD_STEP, step.model_dump())

    @classmethod
    def printed(cls, task: str, rows: Sequence[StepOutput]) -> Change:
        """Steps that run have printed something."""
        return cls(task, _ADD_OUTPUT, [row.model_dump() for row in rows])

    @classmethod
    def step_ended(cls, task: str, number: int, **values: Any) -> Change:
        """A step has ended."""
        chosen = {"of_task": task, "of_number": number}
        return cls(task, _setting(_STEP, *values), chosen | _bound(values))

    @classmethod
    def ended(cls, task_id: str, state: State, **values: Any) -> Change:
        """A running task has ended; what it had already been said to be stays."""
        columns = _NO_RESULT | values | {"state": state, "ended_at": now()}
        change = cls(task_id, _setting(_RUNNING, *columns), {"of_task": task_id, **_bound(columns)})
        change.result = {"state": state, **values}
        return change

    @classmethod
    def progress(cls, task_id: str, **values: Any) -> Change:
        """A running task has something new to show."""
        return cls(task_id, _setting(_RUNNING, *values), {"of_task": task_id, **_bound(values)})


@cache
def _setting(statement: Update, *names: str) -> Update:
    """The statement, setting these columns to `_bound` values; made once for each set of them."""
    columns = statement.table.c
    return statement.values(
        {name: bindparam(f"new_{name}", type_=columns[name].type) for name in names}
    )


def _bound(values: Mapping[str, Any]) -> dict[str, Any]:
    """New values by the names that `_setting` gives them."""
    return {f"new_{name}": value for name, value in values.items()}


def _add(
    db: Connection, new: Sequence[NewTask], most_queued: int | None
) -> list[IdempotencyKey | LimitReached | None]:
    keys = _keys(db, [each.key.id for each in new if each.key])
    rooms: dict[tuple[str, str], int] = {}
    outcomes: list[IdempotencyKey | LimitReached | None] = []
    for task, key, _ in new:
        outcome: IdempotencyKey | LimitReached | None = keys.get(key.id) if key else None
        if outcome is None and most_queued is not None:
            whose = task.username, task.cluster
            if whose not in rooms:
                rooms[whose] = most_queued - _queued(db, *whose, most_queued)
            if rooms[whose] > 0:
                rooms[whose] -= 1
            else:
                said = f"{most_queued} tasks of {task.username} are waiting already"
                outcome = LimitReached(f"{said}; wait, or cancel")
        if outcome is None and key is not None:
            keys[key.id] = key
        outcomes.append(outcome)
    written = [each for each, outcome in zip(new, outcomes, strict=True) if outcome is None]
    to_notify = [each.task.id for each in written if each.task.notify is not None]
    for statement, rows in (
        (_ADD_KEY, [each.key for each in written if each.key]),
        (_ADD, [each.task for each in written]),
        (ADD_TAGGED, tag_rows(each.task for each in written)),
        (_ADD_NOTIFICATION, [WebhookDelivery(task=each) for each in to_notify]),
        (ADD_ENTRY, [each.audit for each in written if each.audit]),
    ):
        if rows:
            db.execute(statement, [row.model_dump() for row in rows])
    return outcomes


def _queued(db: Connection, username: str, cluster: str, most: int) -> int:
    """How many tasks of a user wait on a cluster; counted up to `most`."""
    return db.execute(_QUEUED, {"by": username, "on": cluster, "most": most}).scalar_one()


def _keys(db: Connection, ids: Sequence[str]) -> dict[str, IdempotencyKey]:
    if not ids:
        return {}
    found = db.execute(select(IDEMPOTENCY_KEY).where(IDEMPOTENCY_KEY.c.id.in_(ids)))
    return {row.id: IdempotencyKey(**row._mapping) for row in found}


def _ended(task_id: str, state: State, when: State, values: dict[str, Any]) -> Any:
    chosen = TASK.c.id == task_id, TASK.c.state == when
    return (
        update(TASK)
        .where(*chosen)
        .values(state=state, ended_at=now(), encrypted_payload=None, **values)
    )
