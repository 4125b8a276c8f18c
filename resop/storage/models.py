"""The tables of the database: tasks, tags, steps and their output, batches, approvals, idempotency
keys, webhook deliveries, credentials, API keys, blocked users, workers, audit entries and writers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Index, and_, false, text
from sqlmodel import Field, SQLModel

from resop.clock import now as now  # also for the modules that read and write these tables
from resop.storage.column_types import EncryptedBytes, Json, LongText, UtcDateTime
from resop.storage.ids import new_id
from resop.types import ActionKind

MAX_REASON_LENGTH = 500
"""Characters of the reason why a login was ended, or a user blocked."""
MAX_USER_AGENT_LENGTH = 200
_EMPTY = {"server_default": ""}


class State(StrEnum):
    """The state of a task."""

    PENDING_APPROVAL = "pending_approval"
    """A second person has to approve the task before it is queued."""
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    """Contact was lost after a step was sent: the step may or may not have happened."""

    @property
    def ended(self) -> bool:
        """True for a final state."""
        return self not in UNENDED


NOT_BEGUN = (State.PENDING_APPROVAL, State.QUEUED)
"""The states of tasks of which nothing was sent."""
UNENDED = (*NOT_BEGUN, State.RUNNING)


class Task(SQLModel):
    """One queued execution of an action."""

    id: str = Field(primary_key=True, max_length=36)
    """A UUID of version 7: ids sort by creation time."""
    kind: str = Field(max_length=16)
    operator: str = Field(max_length=64)
    action: str = Field(max_length=64)
    username: str = Field(max_length=64)
    cluster: str = Field(max_length=64)
    credential: str = Field(max_length=36)
    request: str = Field(default="", max_length=64)
    """The id of the HTTP request that created the task, as in the API's log."""
    state: str = Field(max_length=16, default=State.QUEUED)
    options: dict[str, Any] = Field(sa_type=Json)
    """The options, secrets masked."""
    tags: list[str] = Field(default_factory=list, sa_type=Json)
    encrypted_payload: bytes | None = Field(default=None, sa_type=EncryptedBytes)
    """The options and the token's key share, encrypted; erased when the task ends.

    Of a task that has ended, the secrets of its answer; erased when they have been shown.
    """
    time_limit: float
    """The time limit of the action, in seconds."""
    worker: str | None = Field(default=None, max_length=128)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    seconds: float | None = None
    command: str | None = Field(default=None, sa_type=LongText)
    """The command line of a command's task, secrets masked."""
    output: Any = Field(default=None, sa_type=Json, nullable=True)
    stderr: str | None = Field(default=None, sa_type=LongText)
    exit_code: int | None = None
    truncated: bool = False
    log: list[str] = Field(default_factory=list, sa_type=Json)
    progress: dict[str, float] | None = Field(default=None, sa_type=Json)
    error: dict[str, Any] | None = Field(default=None, sa_type=Json)
    pending_undo: list[Any] | None = Field(default=None, sa_type=Json)
    """The records of a running task's undo steps, and the ones that an ended task has left."""
    cancel_asked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """The time of the first cancel request while the task was running."""
    note: str | None = Field(default=None, sa_type=LongText)
    """The user's note."""
    batch: str | None = Field(default=None, max_length=36)
    number: int | None = None
    """The number of the task in its batch, from 0."""
    parameters: dict[str, Any] | None = Field(default=None, sa_type=Json)
    """The parameters of a batch's task, secrets masked."""
    dispatched_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """The time at which a batch's task was queued; None while it waits for its turn."""
    resume_count: int | None = None
    """The number of times the task was handed off; None if its steps are not durable."""
    notify: str | None = Field(default=None, sa_type=LongText)
    """The HTTPS address that gets a webhook when the task ends."""
    approval: str | None = Field(default=None, max_length=36)
    """The id of the request for approval that it was made with, which may be that of its batch."""
    approved_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


@dataclass(frozen=True, slots=True)
class ClaimedTask:
    """The columns of a task that a worker needs once it has claimed the task.

    A worker holds many of them, so they are smaller than a whole Task.
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
    pending_undo: list[Any] | None
    cancel_asked_at: datetime | None
    batch: str | None
    resume_count: int | None


DRY_RUN = "dry_run"
"""The `kind` of a task that is the dry run of an operation.

A worker of an earlier release does not know it, and so fails the task instead of running it.
"""


def action_kind(task_kind: str) -> ActionKind:
    """Return the kind of a task's action."""
    return ActionKind.OPERATION if task_kind == DRY_RUN else ActionKind(task_kind)


class Step(SQLModel):
    """One remote command of a task, secrets masked."""

    task: str = Field(primary_key=True, max_length=36)
    number: int = Field(primary_key=True)
    command: str = Field(sa_type=LongText)
    undo: bool = False
    log_lines: int = 0
    """The length of the task's log when the step began."""
    started_at: datetime = Field(sa_type=UtcDateTime)
    seconds: float | None = None
    exit_code: int | None = None
    stdout: str | None = Field(default=None, sa_type=LongText)
    stderr: str | None = Field(default=None, sa_type=LongText)
    truncated: bool = False
    error: str | None = Field(default=None, sa_type=LongText)
    step_id: str | None = Field(default=None, max_length=80)
    """The id of a durable step on the login node."""


_IN_A_BATCH = "batch IS NOT NULL"


class _TaskTable(Task, table=True):
    __tablename__ = "task"
    __table_args__ = (
        Index("task_of_user", "username", "cluster", "id"),
        Index("task_by_state", "state", "worker", "username", "cluster", "batch"),
        # Partial on SQLite, where a task without a batch then costs nothing.
        Index("task_of_batch", "batch", "number", sqlite_where=text(_IN_A_BATCH)),
        Index(
            *("task_of_batch_by_state", "batch", "state", "dispatched_at", "number"),
            sqlite_where=text(_IN_A_BATCH),
        ),
    )


class _StepTable(Step, table=True):
    __tablename__ = "step"


class TaskTag(SQLModel):
    """A tag of a task; the index for a search by tag."""

    tag: str = Field(primary_key=True, max_length=64)
    """The digest of the tag and the task's owner: see `resop.storage.tags.tag_id`."""
    task: str = Field(primary_key=True, max_length=36)


class _TaskTagTable(TaskTag, table=True):
    __tablename__ = "task_tag"
    __table_args__ = (Index("task_tag_by_task", "task"), {"sqlite_with_rowid": False})


class Batch(SQLModel, table=True):
    """The tasks of one action that one request launched."""

    __tablename__ = "batch"
    __table_args__ = (
        Index("batch_of_user", "username", "cluster", "id"),
        Index("batch_by_end", "ended_at"),
    )

    id: str = Field(primary_key=True, max_length=36)
    """A UUID of version 7."""
    kind: str = Field(max_length=16)
    operator: str = Field(max_length=64)
    action: str = Field(max_length=64)
    username: str = Field(max_length=64)
    cluster: str = Field(max_length=64)
    options: dict[str, Any] = Field(sa_type=Json)
    """The options with the templates of their parameters, secrets masked."""
    sweep: dict[str, Any] | None = Field(default=None, sa_type=Json)
    """The sweep of the request, secrets masked; None if the request listed items."""
    mode: str | None = Field(default=None, max_length=16)
    parameters: list[str] = Field(default_factory=list, sa_type=Json)
    """The names of all parameters, in the order of the request."""
    secret: bool = False
    """True if an option was secret: such a batch cannot be repeated from the database."""
    size: int
    at_once: int | None = None
    """The maximum number of its tasks in flight; None if the batch has no limit."""
    tags: list[str] = Field(default_factory=list, sa_type=Json)
    retry_of: str | None = Field(default=None, max_length=36)
    notify: str | None = Field(default=None, sa_type=LongText)
    """The HTTPS address that gets a webhook when all tasks have ended."""
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    ready_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """The time at which all tasks were written; until then the batch does not exist for users."""
    dispatched_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """The time at which one of its tasks was last dispatched."""
    cancel_asked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """The time at which all tasks were found to have ended."""


class ApprovalState(StrEnum):
    """The state of a request for approval."""

    PENDING = "pending"
    APPROVED = "approved"
    REFUSED = "refused"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    """Its task or batch has ended before anybody decided."""


class Approval(SQLModel, table=True):
    """A request for approval: a task or batch that waits for a second person, and the decision."""

    __tablename__ = "approval"
    __table_args__ = (Index("approval_by_state", "state", "expires_at"),)

    id: str = Field(primary_key=True, max_length=36)
    """A UUID of version 7."""
    task: str | None = Field(default=None, max_length=36)
    """The id of the task; None for a batch."""
    batch: str | None = Field(default=None, max_length=36, index=True)
    kind: str = Field(max_length=16)
    operator: str = Field(max_length=64)
    action: str = Field(max_length=64)
    username: str = Field(max_length=64)
    """The user who requested it, with `cluster`."""
    cluster: str = Field(max_length=64)
    credential: str = Field(max_length=36)
    """The login with whose rights the task would run."""
    uid: int | None = Field(default=None, sa_type=BigInteger)
    """The number of the user's account on the cluster."""
    rule: str = Field(max_length=255)
    """`file:line` of the rule of the policy."""
    digest: str = Field(max_length=64)
    """The keyed digest of its tasks: see `resop.access.approval_digests`."""
    notify: str | None = Field(default=None, sa_type=LongText)
    """The HTTPS address that gets a webhook about the request."""
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    state: str = Field(max_length=16, default=ApprovalState.PENDING)
    decided_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    decided_by: str = Field(default="", max_length=64)
    """The name of the user who decided, on the cluster `decided_on`."""
    decided_on: str = Field(default="", max_length=64)
    decided_with: str = Field(default="", max_length=36)
    """The login of the user who decided."""
    reason: str = Field(default="", max_length=MAX_REASON_LENGTH)
    signature: str = Field(default="", max_length=64)
    """The keyed digest of the decision: nobody without SECRET_KEY can write one."""


class StepOutput(SQLModel):
    """A piece of a step's output, written while the step was running, secrets masked."""

    task: str = Field(primary_key=True, max_length=36)
    number: int = Field(primary_key=True)
    """The number of the piece in the task, across all steps, in the order of arrival."""
    step: int
    """The number of the step; 0 for the only step of a command."""
    stream: int
    """1 for standard output, 2 for standard error."""
    text: str = Field(sa_type=LongText)


class _StepOutputTable(StepOutput, table=True):
    __tablename__ = "step_output"


class IdempotencyKey(SQLModel):
    """An `Idempotency-Key` in use, by which a repeated request is recognized."""

    id: str = Field(primary_key=True, max_length=64)
    """The digest of the key and its user."""
    digest: str = Field(max_length=64)
    """The digest of the request's content."""
    task: str = Field(max_length=36)
    """The id of the task or batch that the request created."""
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime, index=True)


class _IdempotencyKeyTable(IdempotencyKey, table=True):
    __tablename__ = "idempotency_key"


class WebhookDelivery(SQLModel):
    """Delivery state of a webhook; created with its task or batch, due when that ends."""

    task: str = Field(primary_key=True, max_length=36)
    """The id of the task or batch."""
    attempts: int = 0
    next_at: datetime | None = Field(default_factory=now, sa_type=UtcDateTime, index=True)
    """The time of the next attempt; None after the last one."""
    delivered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_error: str | None = Field(default=None, sa_type=LongText)


class _WebhookDeliveryTable(WebhookDelivery, table=True):
    __tablename__ = "webhook_delivery"


class Credential(SQLModel, table=True):
    """The data that reopens a session after its login, encrypted."""

    __tablename__ = "credential"

    id: str = Field(primary_key=True, max_length=36)
    username: str = Field(max_length=64, index=True)
    """The canonical name: what the cluster calls the account, whatever was typed at login."""
    cluster: str = Field(max_length=64)
    kind: str = Field(default="key", max_length=16)
    """The kind: see `resop.config.clusters.LoginKind`."""
    public_key: str = Field(default="", max_length=512)
    encrypted_key: bytes | None = Field(default=None, sa_type=EncryptedBytes)
    worker: str | None = Field(default=None, max_length=128)
    """The worker that holds the session, if the kind is `held`."""
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    uid: int | None = Field(default=None, sa_type=BigInteger)
    """The number of the account on the cluster; None only before it is asked for."""
    expires_at: datetime = Field(sa_type=UtcDateTime, index=True)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
    """The time from which its token is refused, if that is before `expires_at`."""
    end_reason: str = Field(default="", max_length=MAX_REASON_LENGTH, sa_column_kwargs=_EMPTY)
    """Why it was revoked, as its user sees it."""
    keep_running: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    """True if tasks of the login continue although it is revoked, until they have all ended."""
    remote_groups: list[str] | None = Field(default=None, sa_type=Json)
    """The user's groups on the cluster at login; None if the policy needs none."""
    address: str = Field(default="", max_length=64, sa_column_kwargs=_EMPTY)
    """The client's address at login."""
    user_agent: str = Field(default="", max_length=MAX_USER_AGENT_LENGTH, sa_column_kwargs=_EMPTY)
    """The `User-Agent` of the client at login."""
    last_used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """The minute of a recent request with its token."""


class BlockedUser(SQLModel, table=True):
    """A user who may not log in to a cluster."""

    __tablename__ = "blocked_user"

    username: str = Field(primary_key=True, max_length=64)
    cluster: str = Field(primary_key=True, max_length=64)
    reason: str = Field(max_length=MAX_REASON_LENGTH)
    """Why, as the user sees it."""
    since: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    blocked_by: str = Field(max_length=160)
    """The administrator: an account of the service's machine, or `name@cluster`."""


class ApiKey(SQLModel, table=True):
    """An API key: its owner's name for it, its digest and its scope."""

    __tablename__ = "api_key"
    __table_args__ = (Index("api_key_of_user", "username", "cluster"),)

    id: str = Field(primary_key=True, max_length=36)
    """The id of its credential as well, with which it ends."""
    username: str = Field(max_length=64)
    cluster: str = Field(max_length=64)
    name: str = Field(max_length=64)
    digest: str = Field(max_length=64)
    """See `resop.security.api_keys.ApiKeyText.digest`."""
    scope: dict[str, Any] = Field(sa_type=Json)
    """See `resop.security.scope.Scope`."""
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime, index=True)
    last_used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """The time of its last use, to about ten minutes."""


class WorkerHeartbeat(SQLModel, table=True):
    """A worker process and its last heartbeat."""

    __tablename__ = "worker"

    id: str = Field(primary_key=True, max_length=128)
    seen_at: datetime = Field(sa_type=UtcDateTime)


class RequestOutcome(StrEnum):
    """The outcome of a request."""

    ACCEPTED = "accepted"
    """The request created a task or batch."""
    DONE = "done"
    REFUSED = "refused"
    CHECKED = "checked"
    """A dry run: the options were checked, nothing was done."""


class AuditEntry(SQLModel):
    """One request in the audit log, or several equal ones, or a mark of the log itself.

    A new column must be None in the entries that exist: their digests leave None out.
    """

    id: str = Field(primary_key=True, max_length=36, default_factory=new_id)
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    username: str = Field(default="", max_length=64)
    """The user, or the user name of a login; empty if nobody was logged in."""
    cluster: str = Field(default="", max_length=64)
    address: str = Field(max_length=64)
    """The client's address; the name of the worker for what a worker refused."""
    method: str = Field(max_length=16)
    """The HTTP method; `TASK` for what a worker refused, `AUDIT` for a mark of the log itself."""
    path: str = Field(sa_type=LongText)
    """The path, truncated."""
    action: str = Field(default="", max_length=129)
    """`operator:name`, if the request was for an action; the kind of a mark."""
    options: Any = Field(default=None, sa_type=Json, nullable=True)
    """The options, secrets masked and long ones truncated; None if not valid or not read."""
    outcome: str = Field(max_length=16)
    """A RequestOutcome."""
    status: int
    """The HTTP status of the response; 202 for a new task."""
    error: str | None = Field(default=None, max_length=64)
    """The type of the error if the request was refused."""
    task: str | None = Field(default=None, max_length=36)
    """The id of the task or batch: a new one, or the one that a worker refused to run."""
    request: str = Field(default="", max_length=64)
    """The id of the request, as in the API's log."""
    client_request: str | None = Field(default=None, max_length=64)
    """The id that the client gave its request, through no trusted proxy."""
    count: int | None = None
    """The number of equal requests that this entry stands for; None for a single one."""
    items: Any = Field(default=None, sa_type=Json, nullable=True)
    """For a batch: how many items, a digest of their masked parameters, and the first of them."""
    writer: str | None = Field(default=None, max_length=36)
    """The id of the process's chain; None for entries from before there were chains."""
    sequence: int | None = None
    """The number of the entry in its chain, from 1."""
    digest: str | None = Field(default=None, max_length=64)
    """The keyed digest of this entry and of the previous digest in its chain."""


class _AuditTable(AuditEntry, table=True):
    __tablename__ = "audit"
    __table_args__ = (
        Index("audit_of_user", "username", "id"),
        Index("audit_by_writer", "writer", "sequence", unique=True),
    )


class AuditWriter(SQLModel):
    """A chain of audit entries, and how far it was at its writer's last checkpoint.

    Other writers note this in their own chains, so that the end of a chain, or a whole one, cannot
    be deleted unnoticed.
    """

    id: str = Field(primary_key=True, max_length=36)
    process: str = Field(max_length=128)
    """The name of the process: its program, machine and process id."""
    sequence: int
    digest: str = Field(max_length=64)
    activity: int
    """The number of the last entry that is not itself a checkpoint."""
    seen_at: datetime = Field(sa_type=UtcDateTime, index=True)


class _AuditWriterTable(AuditWriter, table=True):
    __tablename__ = "audit_writer"


METADATA = SQLModel.metadata
CHARSET, COLLATION = "utf8mb4", "utf8mb4_bin"
"""Every table's in MariaDB, whatever the database's defaults are: texts are compared by bytes."""
for _table in METADATA.tables.values():
    for _dialect in ("mysql", "mariadb"):
        _table.kwargs.update(
            {
                f"{_dialect}_engine": "InnoDB",  # others have no transactions
                f"{_dialect}_charset": CHARSET,
                f"{_dialect}_collate": COLLATION,
            }
        )
TASK = METADATA.tables["task"]
STEP = METADATA.tables["step"]
STEP_OUTPUT = METADATA.tables["step_output"]
IDEMPOTENCY_KEY = METADATA.tables["idempotency_key"]
WEBHOOK_DELIVERY = METADATA.tables["webhook_delivery"]
CREDENTIAL = METADATA.tables["credential"]
API_KEY = METADATA.tables["api_key"]
TASK_TAG = METADATA.tables["task_tag"]
BATCH = METADATA.tables["batch"]
APPROVAL = METADATA.tables["approval"]
BLOCKED_USER = METADATA.tables["blocked_user"]
WORKER = METADATA.tables["worker"]
AUDIT = METADATA.tables["audit"]
AUDIT_WRITER = METADATA.tables["audit_writer"]

HANDED_OFF = and_(TASK.c.state == State.RUNNING, TASK.c.worker.is_(None), TASK.c.resume_count > 0)
"""The condition that a worker has handed off a task and no other has resumed it."""
