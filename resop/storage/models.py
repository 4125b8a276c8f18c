"""The tables of the record: tasks, their tags, their steps and what these print, keys, batches,
notifications, credentials, workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Index, and_, text
from sqlmodel import Field, SQLModel

from resop.storage.column_types import EncryptedBytes, Json, LongText, UtcDateTime
from resop.storage.ids import new_id


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
    encrypted_payload: bytes | None = Field(default=None, sa_type=EncryptedBytes)
    """The envelope with the options and the token's half; gone when the task has ended."""
    time_limit: float
    """Seconds that the action may run."""
    worker: str | None = Field(default=None, max_length=128)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
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
    pending_undo: list[str] | None = Field(default=None, sa_type=Json)
    """Of a running task: the command lines that would undo what it has done, secrets masked."""
    cancel_asked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When its user first asked to cancel it while it ran."""
    note: str | None = Field(default=None, sa_type=LongText)
    """What its user has written about it."""
    batch: str | None = Field(default=None, max_length=36)
    number: int | None = None
    """Its place in its batch, from 0 on."""
    parameters: dict[str, Any] | None = Field(default=None, sa_type=Json)
    """Of a batch's task: its values of the parameters, secrets masked."""
    dispatched_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Of a batch's task: when it was handed to the queue; until then it waits for its turn."""
    resume_count: int | None = None
    """How many workers have left it to others; None where its steps do not survive a worker."""
    notify: str | None = Field(default=None, sa_type=LongText)
    """The HTTPS address that is told of its end."""


@dataclass(frozen=True, slots=True)
class ClaimedTask:
    """What a worker needs of a task that it has made its own; columns of the task by their names.

    Thousands are held at once, so that it is no row with all that a task has.
    """

    id: str
    kind: str
    operator: str
    action: str
    username: str
    cluster: str
    credential: str
    request: str
    encrypted_payload: bytes | None
    time_limit: float
    started_at: datetime | None
    log: list[str]
    progress: dict[str, float] | None
    pending_undo: list[str] | None
    cancel_asked_at: datetime | None
    batch: str | None
    resume_count: int | None


class Step(SQLModel):
    """One remote command inside an operation's task, secrets masked."""

    task: str = Field(primary_key=True, max_length=36)
    number: int = Field(primary_key=True)
    command: str = Field(sa_type=LongText)
    undo: bool = False
    log_lines: int = 0
    """Lines that the task's log had when it began."""
    started_at: datetime = Field(sa_type=UtcDateTime)
    seconds: float | None = None
    exit_code: int | None = None
    stdout: str | None = Field(default=None, sa_type=LongText)
    stderr: str | None = Field(default=None, sa_type=LongText)
    truncated: bool = False
    error: str | None = Field(default=None, sa_type=LongText)
    step_id: str | None = Field(default=None, max_length=80)
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
            *("task_of_batch_by_state", "batch", "state", "dispatched_at", "number"),
            sqlite_where=text(_IN_A_BATCH),
        ),
    )


class _StepTable(Step, table=True):
    __tablename__ = "step"


class TaskTag(SQLModel):
    """That a task has a tag: finds the few that do among all of its user's."""

    tag: str = Field(primary_key=True, max_length=64)
    """Digest of the tag and of whose task it is."""
    task: str = Field(primary_key=True, max_length=36)


class _TaskTagTable(TaskTag, table=True):
    __tablename__ = "task_tag"
    __table_args__ = (Index("task_tag_by_task", "task"), {"sqlite_with_rowid": False})


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
    mode: str | None = Field(default=None, max_length=16)
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
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    ready_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When all of its tasks were written; before that it does not exist for anybody."""
    dispatched_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When one of its tasks was last dealt out."""
    cancel_asked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When all of its tasks were seen to have ended."""


class StepOutput(SQLModel):
    """What a step printed at a time while it ran, secrets masked."""

    task: str = Field(primary_key=True, max_length=36)
    number: int = Field(primary_key=True)
    """They are numbered in the order in which it was printed, whichever step that was."""
    step: int
    """Its number; 0 for a command's only one."""
    stream: int
    """1 standard output, 2 standard error."""
    text: str = Field(sa_type=LongText)


class _StepOutputTable(StepOutput, table=True):
    __tablename__ = "step_output"


class IdempotencyKey(SQLModel):
    """What a request with an `Idempotency-Key` is known by, when it is repeated."""

    id: str = Field(primary_key=True, max_length=64)
    """Digest of the key and of whose it is."""
    digest: str = Field(max_length=64)
    """Digest of what was asked for."""
    task: str = Field(max_length=36)
    """Id of the task, or of the batch, that the request has made."""
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime, index=True)


class _IdempotencyKeyTable(IdempotencyKey, table=True):
    __tablename__ = "idempotency_key"


class WebhookDelivery(SQLModel):
    """How the notification of an end stands; written with the task or batch, due at its end."""

    task: str = Field(primary_key=True, max_length=36)
    """The id of the task, or of the batch."""
    attempts: int = 0
    next_at: datetime | None = Field(default_factory=now, sa_type=UtcDateTime, index=True)
    """When to try (again); None when that is over."""
    delivered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_error: str | None = Field(default=None, sa_type=LongText)


class _WebhookDeliveryTable(WebhookDelivery, table=True):
    __tablename__ = "webhook_delivery"


class Credential(SQLModel, table=True):
    """What lets a session be opened again, sealed."""

    __tablename__ = "credential"

    id: str = Field(primary_key=True, max_length=36)
    username: str = Field(max_length=64, index=True)
    cluster: str = Field(max_length=64)
    kind: str = Field(default="key", max_length=16)
    """What it is: see `resop.config.clusters.LoginKind`."""
    public_key: str = Field(default="", max_length=512)
    encrypted_key: bytes | None = Field(default=None, sa_type=EncryptedBytes)
    worker: str | None = Field(default=None, max_length=128)
    """Of a kept session: who holds it."""
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    remote_groups: list[str] | None = Field(default=None, sa_type=Json)
    """Those that the user had on the cluster at the login, where the policy asks for them."""


class Worker(SQLModel, table=True):
    """A worker process and when it was last known to be alive."""

    __tablename__ = "worker"

    id: str = Field(primary_key=True, max_length=128)
    seen_at: datetime = Field(sa_type=UtcDateTime)


class RequestOutcome(StrEnum):
    """What became of a request."""

    ACCEPTED = "accepted"
    """As a task, whose own record says how it ended."""
    DONE = "done"
    REFUSED = "refused"


class AuditEntry(SQLModel):
    """One request."""

    id: str = Field(primary_key=True, max_length=36, default_factory=new_id)
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    username: str = Field(default="", max_length=64)
    """Who: of a login, who it was for; empty where nobody was logged in."""
    cluster: str = Field(default="", max_length=64)
    address: str = Field(max_length=64)
    """Where it came from."""
    method: str = Field(max_length=16)
    path: str = Field(sa_type=LongText)
    action: str = Field(default="", max_length=129)
    """`operator:name`, where it asked for one."""
    options: Any = Field(default=None, sa_type=Json, nullable=True)
    """Secrets masked, long texts cut; None where they were not valid, or not looked at."""
    outcome: str = Field(max_length=16)
    """An Outcome."""
    status: int
    """Of the answer over HTTP; 202 for a task when it is accepted."""
    error: str | None = Field(default=None, max_length=64)
    """Type of the error that it was refused with."""
    task: str | None = Field(default=None, max_length=36)
    """Id of the task, or of the batch, that it made."""
    request: str = Field(default="", max_length=64)
    """Id of the request, as the log of the API has it."""


class _AuditTable(AuditEntry, table=True):
    __tablename__ = "audit"
    __table_args__ = (Index("audit_of_user", "username", "id"),)


METADATA = SQLModel.metadata
TASK = METADATA.tables["task"]
STEP = METADATA.tables["step"]
STEP_OUTPUT = METADATA.tables["step_output"]
IDEMPOTENCY_KEY = METADATA.tables["idempotency_key"]
WEBHOOK_DELIVERY = METADATA.tables["webhook_delivery"]
CREDENTIAL = METADATA.tables["credential"]
TASK_TAG = METADATA.tables["task_tag"]
BATCH = METADATA.tables["batch"]
WORKER = METADATA.tables["worker"]
AUDIT = METADATA.tables["audit"]

HANDED_OFF = and_(TASK.c.state == State.RUNNING, TASK.c.worker.is_(None), TASK.c.resume_count > 0)
"""The condition that a worker has handed off a task and no other has resumed it."""
