"""The record: tasks, their steps and keys, batches, credentials, workers; and the queries on them.

The database is what is true. A task that has ended never changes, and a task is claimed by one
worker, ever: both are conditions in the statements below, not habits of their callers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Index,
    Integer,
    Row,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, SQLModel

from resop.audit import ADD_ENTRY, Entry
from resop.columns import Json, LongText, Moment, Sealed
from resop.database import Database
from resop.errors import LimitReached


class State(StrEnum):
    """Where a task is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    """Contact was lost after a step was sent: nobody may assume that it did or did not happen."""

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self not in (State.QUEUED, State.RUNNING)


def now() -> datetime:
    """The present moment, UTC."""
    return datetime.now(UTC)


class Task(SQLModel):
    """One queued execution of an action."""

    id: str = Field(primary_key=True, max_length=36)
    """UUID version 7: ids sort by the time they were made."""
    kind: str = Field(max_length=16)
    operator: str = Field(max_length=64)
    action: str = Field(max_length=64)
    username: str = Field(max_length=64)
    cluster: str = Field(max_length=64)
    credential: str = Field(max_length=36)
    request: str = Field(default="", max_length=64)
    """Id of the HTTP request that made it, as the log of the API has it."""
    state: str = Field(max_length=16, default=State.QUEUED)
    options: dict[str, Any] = Field(sa_type=Json)
    """As they are shown: secrets masked."""
    tags: list[str] = Field(default_factory=list, sa_type=Json)
    sealed: bytes | None = Field(default=None, sa_type=Sealed)
    """The envelope with the options and the token's half; gone when the task has ended."""
    time_limit: float
    """Seconds that the action may run."""
    worker: str | None = Field(default=None, max_length=128)
    created_at: datetime = Field(default_factory=now, sa_type=Moment)
    started_at: datetime | None = Field(default=None, sa_type=Moment)
    ended_at: datetime | None = Field(default=None, sa_type=Moment)
    seconds: float | None = None
    command: str | None = Field(default=None, sa_type=LongText)
    """The command line of a command, secrets masked."""
    output: Any = Field(default=None, sa_type=Json, nullable=True)
    stderr: str | None = Field(default=None, sa_type=LongText)
    exit_code: int | None = None
    truncated: bool = False
    log: list[str] = Field(default_factory=list, sa_type=Json)
    progress: dict[str, float] | None = Field(default=None, sa_type=Json)
    error: dict[str, Any] | None = Field(default=None, sa_type=Json)
    to_undo: list[str] | None = Field(default=None, sa_type=Json)
    """Of a running task: the command lines that would undo what it has done, secrets masked."""
    cancel_asked_at: datetime | None = Field(default=None, sa_type=Moment)
    """When its user first asked to cancel it while it ran."""
    note: str | None = Field(default=None, sa_type=LongText)
    """What its user has written about it."""
    batch: str | None = Field(default=None, max_length=36)
    number: int | None = None
    """Its place in its batch, from 0 on."""
    item: dict[str, Any] | None = Field(default=None, sa_type=Json)
    """Of a batch's task: its values of the parameters, secrets masked."""
    dealt_at: datetime | None = Field(default=None, sa_type=Moment)
    """Of a batch's task: when it was handed to the queue; until then it waits for its turn."""
    hand_overs: int | None = None
    """How many workers have left it to others; None where its steps do not survive a worker."""
    notify: str | None = Field(default=None, sa_type=LongText)
    """The HTTPS address that is told of its end."""


class Step(SQLModel):
    """One remote command inside an operation's task, secrets masked."""

    task: str = Field(primary_key=True, max_length=36)
    number: int = Field(primary_key=True)
    command: str = Field(sa_type=LongText)
    undo: bool = False
    log_lines: int = 0
    """Lines that the task's log had when it began."""
    started_at: datetime = Field(sa_type=Moment)
    seconds: float | None = None
    exit_code: int | None = None
    stdout: str | None = Field(default=None, sa_type=LongText)
    stderr: str | None = Field(default=None, sa_type=LongText)
    truncated: bool = False
    error: str | None = Field(default=None, sa_type=LongText)
    keep: str | None = Field(default=None, max_length=80)
    """What a step that survives is called on the login node."""


_IN_A_BATCH = "batch IS NOT NULL"


class _TaskTable(Task, table=True):
    __tablename__ = "task"
    __table_args__ = (
        Index("task_of_user", "username", "cluster", "id"),
        Index("task_by_state", "state", "worker", "username", "cluster", "batch"),
        # Partial where that is known: a task of its own costs them nothing.
        Index("task_of_batch", "batch", "number", sqlite_where=text(_IN_A_BATCH)),
        Index(
            *("task_of_batch_by_state", "batch", "state", "dealt_at", "number"),
            sqlite_where=text(_IN_A_BATCH),
        ),
    )


class _StepTable(Step, table=True):
    __tablename__ = "step"


class Batch(SQLModel, table=True):
    """Tasks of one action, launched by one request."""

    __tablename__ = "batch"
    __table_args__ = (
        Index("batch_of_user", "username", "cluster", "id"),
        Index("batch_by_end", "ended_at"),
    )

    id: str = Field(primary_key=True, max_length=36)
    """UUID version 7."""
    kind: str = Field(max_length=16)
    operator: str = Field(max_length=64)
    action: str = Field(max_length=64)
    username: str = Field(max_length=64)
    cluster: str = Field(max_length=64)
    options: dict[str, Any] = Field(sa_type=Json)
    """The options with their templates, secrets masked."""
    sweep: dict[str, Any] | None = Field(default=None, sa_type=Json)
    """The parameters as they were asked for, secrets masked; None where items were listed."""
    combine: str | None = Field(default=None, max_length=16)
    parameters: list[str] = Field(default_factory=list, sa_type=Json)
    """Names of all parameters, in the order in which they were given."""
    secret: bool = False
    """Whether some option was secret: such a batch cannot be made again from the record."""
    size: int
    at_once: int | None = None
    """The most of its tasks in flight at the same time; None for no limit of its own."""
    tags: list[str] = Field(default_factory=list, sa_type=Json)
    retry_of: str | None = Field(default=None, max_length=36)
    notify: str | None = Field(default=None, sa_type=LongText)
    """The address that is told when all of its tasks have ended."""
    created_at: datetime = Field(default_factory=now, sa_type=Moment)
    ready_at: datetime | None = Field(default=None, sa_type=Moment)
    """When all of its tasks were written; before that it does not exist for anybody."""
    dealt_at: datetime | None = Field(default=None, sa_type=Moment)
    """When one of its tasks was last dealt out."""
    cancel_asked_at: datetime | None = Field(default=None, sa_type=Moment)
    ended_at: datetime | None = Field(default=None, sa_type=Moment)
    """When all of its tasks were seen to have ended."""


class Output(SQLModel):
    """What a step printed at a time while it ran, secrets masked."""

    task: str = Field(primary_key=True, max_length=36)
    number: int = Field(primary_key=True)
    """They are numbered in the order in which it was printed, whichever step that was."""
    step: int
    """Its number; 0 for a command's only one."""
    stream: int
    """1 standard output, 2 standard error."""
    text: str = Field(sa_type=LongText)


class _OutputTable(Output, table=True):
    __tablename__ = "output"


class Key(SQLModel):
    """What a request with an `Idempotency-Key` is known by, when it is repeated."""

    id: str = Field(primary_key=True, max_length=64)
    """Digest of the key and of whose it is."""
    digest: str = Field(max_length=64)
    """Digest of what was asked for."""
    task: str = Field(max_length=36)
    """Id of the task, or of the batch, that the request has made."""
    created_at: datetime = Field(default_factory=now, sa_type=Moment, index=True)


class _KeyTable(Key, table=True):
    __tablename__ = "idempotency_key"


class Notification(SQLModel):
    """How the notification of an end stands; written with the task or batch, due at its end."""

    task: str = Field(primary_key=True, max_length=36)
    """The id of the task, or of the batch."""
    attempts: int = 0
    next_at: datetime | None = Field(default_factory=now, sa_type=Moment, index=True)
    """When to try (again); None when that is over."""
    delivered_at: datetime | None = Field(default=None, sa_type=Moment)
    last_error: str | None = Field(default=None, sa_type=LongText)


class _NotificationTable(Notification, table=True):
    __tablename__ = "notification"


class Credential(SQLModel, table=True):
    """What lets a session be opened again, sealed."""

    __tablename__ = "credential"

    id: str = Field(primary_key=True, max_length=36)
    username: str = Field(max_length=64, index=True)
    cluster: str = Field(max_length=64)
    kind: str = Field(default="key", max_length=16)
    """What it is: see `resop.settings.LoginKind`."""
    public_key: str = Field(default="", max_length=512)
    sealed_key: bytes | None = Field(default=None, sa_type=Sealed)
    worker: str | None = Field(default=None, max_length=128)
    """Of a kept session: who holds it."""
    created_at: datetime = Field(default_factory=now, sa_type=Moment)
    expires_at: datetime = Field(sa_type=Moment)
    revoked_at: datetime | None = Field(default=None, sa_type=Moment)
    remote_groups: list[str] | None = Field(default=None, sa_type=Json)
    """Those that the user had on the cluster at the login, where the policy asks for them."""


class Worker(SQLModel, table=True):
    """A worker process and when it was last known to be alive."""

    __tablename__ = "worker"

    id: str = Field(primary_key=True, max_length=128)
    seen_at: datetime = Field(sa_type=Moment)


_TASK = SQLModel.metadata.tables["task"]
_STEP = SQLModel.metadata.tables["step"]
_OUTPUT = SQLModel.metadata.tables["output"]
_KEY = SQLModel.metadata.tables["idempotency_key"]
_NOTIFICATION = SQLModel.metadata.tables["notification"]
_CREDENTIAL = SQLModel.metadata.tables["credential"]
_WORKER = SQLModel.metadata.tables["worker"]


# Running and nobody's: another worker has left it.
_HANDED_OVER = and_(
    _TASK.c.state == State.RUNNING, _TASK.c.worker.is_(None), _TASK.c.hand_overs > 0
)

# The statements of every task's way are made once: to make one costs more than to run it.
_ADD = insert(_TASK)
_QUEUED = select(func.count()).select_from(
    # By `task_by_state`: it reads what it counts, however long the table is.
    select(literal_column("1"))
    .where(_TASK.c.state == State.QUEUED, _TASK.c.worker.is_(None))
    .where(_TASK.c.username == bindparam("by"), _TASK.c.cluster == bindparam("on"))
    .where(_TASK.c.batch.is_(None))
    .limit(bindparam("most", type_=Integer))
    .subquery()
)
_ADD_STEP = insert(_STEP)
_ADD_OUTPUT = insert(_OUTPUT)
_CLAIM = (
    update(_TASK)
    .where(_TASK.c.id == bindparam("claimed"), or_(_TASK.c.state == State.QUEUED, _HANDED_OVER))
    .values(
        state=State.RUNNING,
        worker=bindparam("by"),
        started_at=func.coalesce(_TASK.c.started_at, bindparam("at", type_=Moment)),
    )
)
_CLAIM_RETURNING = _CLAIM.returning(*_TASK.c)
_RESULT = (
    *("state", "ended_at", "seconds", "output", "stderr", "exit_code", "truncated"),
    *("log", "progress", "error", "to_undo", "sealed"),
)
_END = (
    update(_TASK)
    .where(_TASK.c.id == bindparam("ended"), _TASK.c.state == State.RUNNING)
    .values({name: bindparam(f"new_{name}", type_=_TASK.c[name].type) for name in _RESULT})
)
_NO_RESULT = dict.fromkeys(_RESULT) | {"truncated": False, "log": []}


class Orphan(NamedTuple):
    """A running task whose worker is dead."""

    id: str
    cluster: str
    worker: str
    hand_overs: int | None
    to_undo: list[str] | None


class Records(Database):
    """Every query on the record. Methods block; all raise RecordsUnavailable."""

    # -- tasks

    def add_task(
        self,
        task: Task,
        *,
        flushed: bool = True,
        key: Key | None = None,
        most_queued: int | None = None,
        audit: Entry | None = None,
    ) -> Key | None:
        """Write a new task; `flushed` as in `write`: to claim the task flushes it too.

        With a `key` that another task has, nothing is written: that other one's is returned.
        LimitReached where `most_queued` tasks of the user wait on that cluster. `audit` is
        written with it, or not at all.
        """
        try:
            with self.write(flushed=flushed) as db:
                if key is not None:
                    db.execute(insert(_KEY), [key.model_dump()])
                if most_queued is not None:
                    _check_room(db, task, most_queued)
                db.execute(_ADD, task.model_dump())
                if task.notify is not None:
                    db.execute(insert(_NOTIFICATION), [Notification(task=task.id).model_dump()])
                if audit is not None:
                    db.execute(ADD_ENTRY, audit.model_dump())
        except IntegrityError:
            if key is None:
                raise
            if earlier := self.key(key.id):
                return earlier
            # It was forgotten at that very moment, and is free.
            return self.add_task(
                task, flushed=flushed, key=key, most_queued=most_queued, audit=audit
            )
        return None

    def flush_task(self, task_id: str) -> None:
        """Make sure that a task that was not flushed is on the disk."""
        with self.write() as db:
            db.execute(update(_TASK).where(_TASK.c.id == task_id).values(id=task_id))

    def task(self, task_id: str) -> Task | None:
        """One task, whoever's it is."""
        with self.read() as db:
            row = db.execute(select(_TASK).where(_TASK.c.id == task_id)).one_or_none()
        return None if row is None else Task(**row._mapping)

    def claim(self, task_id: str, worker: str) -> Task | None:
        """Make `worker` the one that runs a task that is queued, or was left by another worker.

        None when it is not to be run.
        """
        return next(iter(self.claim_all([task_id], worker)), None)

    def claim_all(self, task_ids: Sequence[str], worker: str) -> list[Task]:
        """Claim many in one transaction; those that are to be run."""
        rows: list[Row[Any]] = []
        with self.write() as db:
            for task_id in task_ids:
                claim = {"claimed": task_id, "by": worker, "at": now()}
                if db.dialect.update_returning:
                    rows += db.execute(_CLAIM_RETURNING, claim).all()
                elif db.execute(_CLAIM, claim).rowcount:  # MariaDB
                    rows += db.execute(select(_TASK).where(_TASK.c.id == task_id)).all()
        return [Task(**row._mapping) for row in rows]

    def unclaim(self, task_id: str, worker: str) -> bool:
        """Put a claimed task of which nothing was sent back into the queue."""
        with self.write() as db:
            return bool(
                db.execute(
                    update(_TASK)
                    .where(_TASK.c.id == task_id, _TASK.c.state == State.RUNNING)
                    .where(_TASK.c.worker == worker)
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
        asked = func.coalesce(_TASK.c.cancel_asked_at, bindparam("at", now(), Moment))
        with self.write() as db:
            return bool(
                db.execute(
                    update(_TASK)
                    .where(_TASK.c.id == task_id, _TASK.c.state == State.RUNNING)
                    .values(cancel_asked_at=asked)
                ).rowcount
            )

    def to_cancel(self, worker: str) -> list[str]:
        """The running tasks of a worker that are marked."""
        query = select(_TASK.c.id).where(
            _TASK.c.state == State.RUNNING,
            _TASK.c.worker == worker,
            _TASK.c.cancel_asked_at.is_not(None),
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
        columns = [each for each in _STEP.c if output or each.name not in ("stdout", "stderr")]
        query = select(*columns).where(_STEP.c.task == task_id, _STEP.c.number > after)
        with self.read() as db:
            rows = db.execute(query.order_by(_STEP.c.number))
            return [Step(**row._mapping) for row in rows]

    # -- keys

    def key(self, key_id: str) -> Key | None:
        """A key that some task has."""
        with self.read() as db:
            row = db.execute(select(_KEY).where(_KEY.c.id == key_id)).one_or_none()
        return None if row is None else Key(**row._mapping)

    def forget_key(self, key_id: str) -> None:
        """The request of a key may be made again."""
        with self.write() as db:
            db.execute(delete(_KEY).where(_KEY.c.id == key_id))

    def forget_old_keys(self, created_before: datetime, limit: int) -> int:
        """Forget the keys of that age, at most so many; how many there were."""
        old = select(_KEY.c.id).where(_KEY.c.created_at < created_before).limit(limit)
        with self.write() as db:
            # Those of another worker that does the same are left to it.
            found = db.execute(old.with_for_update(skip_locked=True)).scalars().all()
            if found:
                db.execute(delete(_KEY).where(_KEY.c.id.in_(found)))
        return len(found)

    # -- credentials

    def add_credential(self, credential: Credential) -> None:
        """Write a new credential; sweep the sealed keys of those that have expired."""
        with self.write() as db:
            db.execute(
                update(_CREDENTIAL)
                .where(_CREDENTIAL.c.expires_at < now(), _CREDENTIAL.c.sealed_key.is_not(None))
                .values(sealed_key=None)
            )
            db.execute(insert(_CREDENTIAL), [credential.model_dump()])

    def credential(self, credential_id: str) -> Credential | None:
        """A credential that is neither revoked nor expired, else None."""
        query = select(_CREDENTIAL).where(
            _CREDENTIAL.c.id == credential_id,
            _CREDENTIAL.c.revoked_at.is_(None),
            _CREDENTIAL.c.expires_at > now(),
        )
        with self.read() as db:
            row = db.execute(query).one_or_none()
        return None if row is None else Credential(**row._mapping)

    def groups(self, credential_id: str) -> list[str] | None:
        """What a credential's user belongs to; also when that has ended."""
        query = select(_CREDENTIAL.c.remote_groups).where(_CREDENTIAL.c.id == credential_id)
        with self.read() as db:
            groups: list[str] | None = db.execute(query).scalar()
        return groups

    def credentials(self, username: str | None = None) -> list[Credential]:
        """Those that are live, oldest first; of one user, or of all."""
        query = select(_CREDENTIAL).where(
            _CREDENTIAL.c.revoked_at.is_(None), _CREDENTIAL.c.expires_at > now()
        )
        if username is not None:
            query = query.where(_CREDENTIAL.c.username == username)
        with self.read() as db:
            rows = db.execute(query.order_by(_CREDENTIAL.c.id))
            return [Credential(**row._mapping) for row in rows]

    def forget_old_credentials(self, expired_before: datetime, limit: int) -> int:
        """Forget those that had expired by then, at most so many; how many there were."""
        old = select(_CREDENTIAL.c.id).where(_CREDENTIAL.c.expires_at < expired_before)
        with self.write() as db:
            found = db.execute(old.limit(limit).with_for_update(skip_locked=True)).scalars().all()
            if found:
                db.execute(delete(_CREDENTIAL).where(_CREDENTIAL.c.id.in_(found)))
        return len(found)

    def revoke(self, credential_id: str) -> bool:
        """End a credential and forget its key; tell whether this call ended it."""
        with self.write() as db:
            return bool(
                db.execute(
                    update(_CREDENTIAL)
                    .where(_CREDENTIAL.c.id == credential_id, _CREDENTIAL.c.revoked_at.is_(None))
                    .values(revoked_at=now(), sealed_key=None)
                ).rowcount
            )

    # -- workers and what they leave behind

    def heartbeat(self, worker: str) -> None:
        """Say that a worker is alive."""
        with self.write() as db:
            known = db.execute(
                update(_WORKER).where(_WORKER.c.id == worker).values(seen_at=now())
            ).rowcount
            if not known:
                db.execute(insert(_WORKER), [{"id": worker, "seen_at": now()}])

    def forget_worker(self, worker: str) -> None:
        """A worker has stopped in order."""
        with self.write() as db:
            db.execute(delete(_WORKER).where(_WORKER.c.id == worker))

    def orphans(self, seen_before: datetime) -> list[Orphan]:
        """The running tasks whose worker was not seen since."""
        alive = select(_WORKER.c.id).where(_WORKER.c.seen_at >= seen_before)
        columns = [_TASK.c[name] for name in Orphan._fields]
        query = select(*columns).where(
            _TASK.c.state == State.RUNNING,
            _TASK.c.worker.is_not(None),
            _TASK.c.worker.not_in(alive),
            # A fresh worker claims before its first heartbeat is due.
            _TASK.c.started_at < seen_before,
        )
        with self.read() as db:
            return [Orphan(*row) for row in db.execute(query)]

    def hand_over(self, task_id: str, worker: str) -> bool:
        """Let another worker take up what `worker` ran; tell whether it was still its own."""
        chosen = _TASK.c.id == task_id, _TASK.c.state == State.RUNNING, _TASK.c.worker == worker
        values = {"worker": None, "hand_overs": _TASK.c.hand_overs + 1}
        with self.write() as db:
            return bool(db.execute(update(_TASK).where(*chosen).values(values)).rowcount)

    def waiting(self, created_before: datetime, limit: int) -> list[tuple[str, str, str]]:
        """(task, cluster, worker) of those queued or left by a worker before that moment.

        Oldest first; those of a batch are queued when they are dealt out. The worker is the one
        that keeps the session of the task's login, else it is empty.
        """
        since = case((_TASK.c.batch.is_(None), _TASK.c.created_at), else_=_TASK.c.dealt_at)
        query = (
            select(_TASK.c.id, _TASK.c.cluster, func.coalesce(_CREDENTIAL.c.worker, ""))
            .outerjoin(_CREDENTIAL, _CREDENTIAL.c.id == _TASK.c.credential)
            .where(
                or_(_TASK.c.state == State.QUEUED, _HANDED_OVER),
                since < created_before,
            )
            .order_by(_TASK.c.id)
            .limit(limit)
        )
        with self.read() as db:
            return [tuple(row) for row in db.execute(query)]

    def end_unheld(self, seen_before: datetime, error: Mapping[str, Any]) -> int:
        """End the queued tasks whose session was kept by a worker that was not seen since.

        Those of batches that are still to be dealt out, too; how many they were.
        """
        alive = select(_WORKER.c.id).where(_WORKER.c.seen_at >= seen_before)
        kept_by = _CREDENTIAL.c.worker
        chosen = (
            _TASK.c.state == State.QUEUED,
            _TASK.c.created_at < seen_before,  # a fresh worker logs in before it is heard of
            _TASK.c.credential.in_(
                select(_CREDENTIAL.c.id).where(kept_by.is_not(None), kept_by.not_in(alive))
            ),
        )
        with self.read() as db:
            if db.execute(select(_TASK.c.id).where(*chosen).limit(1)).first() is None:
                return 0
        ended = {"state": State.FAILED, "ended_at": now(), "sealed": None, "error": error}
        with self.write() as db:
            return db.execute(update(_TASK).where(*chosen).values(**ended)).rowcount


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
        """Whose task ends, where that is known: see `resop.events.whose`."""

    @classmethod
    def step_begun(cls, step: Step) -> Change:
        """A step is about to be sent."""
        return cls(step.task, _ADD_STEP, step.model_dump())

    @classmethod
    def printed(cls, task: str, rows: Sequence[Output]) -> Change:
        """Steps that run have printed something."""
        return cls(task, _ADD_OUTPUT, [row.model_dump() for row in rows])

    @classmethod
    def step_ended(cls, task: str, number: int, **values: Any) -> Change:
        """A step has ended."""
        chosen = _STEP.c.task == task, _STEP.c.number == number
        return cls(task, update(_STEP).where(*chosen).values(**values))

    @classmethod
    def ended(cls, task_id: str, state: State, **values: Any) -> Change:
        """A running task has ended; what it had already been said to be stays."""
        columns = _NO_RESULT | values | {"state": state, "ended_at": now()}
        bound = {f"new_{name}": value for name, value in columns.items()}
        change = cls(task_id, _END, {"ended": task_id, **bound})
        change.result = {"state": state, **values}
        return change

    @classmethod
    def progress(cls, task_id: str, **values: Any) -> Change:
        """A running task has something new to show."""
        chosen = _TASK.c.id == task_id, _TASK.c.state == State.RUNNING
        return cls(task_id, update(_TASK).where(*chosen).values(**values))


def _check_room(db: Connection, task: Task, most: int) -> None:
    whose = {"by": task.username, "on": task.cluster, "most": most}
    if db.execute(_QUEUED, whose).scalar_one() >= most:
        raise LimitReached(f"{most} tasks of {task.username} are waiting already; wait, or cancel")


def _ended(task_id: str, state: State, when: State, values: dict[str, Any]) -> Any:
    chosen = _TASK.c.id == task_id, _TASK.c.state == when
    return update(_TASK).where(*chosen).values(state=state, ended_at=now(), sealed=None, **values)
