"""The JSON of tasks, as the OpenAPI document describes it; `resop.storage.serializers` makes it."""

from datetime import datetime
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from resop.actions.dry_run import PlannedStep
from resop.steps.undo import UndoState
from resop.storage.models import State


class RemainingStep(TypedDict):
    """An undo step that remains to be run."""

    what: Annotated[str, Field(description="what it does, in words")]
    where: Annotated[str, Field(description="the system that it changes")]
    command: Annotated[str, Field(description="its command line, secrets masked")]
    state: Annotated[UndoState, Field(description="how far it has come")]
    reason: Annotated[str, Field(description="why it remains")]


class TaskError(TypedDict):
    """Why a task did not succeed; some types of error have further details."""

    type: Annotated[str, Field(description="the name of the error's type")]
    message: NotRequired[Annotated[str, Field(description="what went wrong, for a person")]]
    retryable: NotRequired[
        Annotated[bool, Field(description="true if the same request may succeed later")]
    ]
    undone: NotRequired[Annotated[list[str], Field(description="the steps that were undone")]]
    needs_repair: NotRequired[Annotated[list[str], Field(description="what could not be undone")]]
    repair: NotRequired[
        Annotated[list[RemainingStep], Field(description="the same steps as objects")]
    ]
    note: NotRequired[
        Annotated[str, Field(description="of a dry run: why a real run may answer otherwise")]
    ]


class ActionResult(TypedDict):
    """The result of a command or an operation."""

    success: bool
    task: str
    operation: NotRequired[str]
    command: NotRequired[
        Annotated[str, Field(description="the command line of a command, secrets masked")]
    ]
    output: Any
    log: NotRequired[list[str]]
    stderr: NotRequired[str | None]
    exit_code: NotRequired[int | None]
    seconds: float | None


class TaskProgress(TypedDict):
    """How much of a task is done, in the unit of its operation."""

    done: float
    total: float


class TaskStep(TypedDict):
    """One remote command of an operation, secrets masked."""

    number: int
    command: str
    undo: Annotated[bool, Field(description="true for a step that undid another")]
    started_at: datetime
    seconds: float | None
    exit_code: int | None
    stdout: str | None
    stderr: str | None
    truncated: bool
    error: str | None


class TaskNotification(TypedDict):
    """The delivery of a task's notification; with neither time, all attempts have failed."""

    attempts: int
    next_at: datetime | None
    delivered_at: datetime | None
    last_error: str | None


class TaskSummary(TypedDict):
    """A task as in a list, without its output."""

    task: Annotated[str, Field(description="the id of the task")]
    command: NotRequired[
        Annotated[str | None, Field(description="the command line of a command, secrets masked")]
    ]
    operation: NotRequired[Annotated[str, Field(description="`operator:name` of an operation")]]
    dry_run: NotRequired[Annotated[bool, Field(description="true for a dry run")]]
    action: Annotated[str, Field(description="`operator:name`")]
    state: State
    success: Annotated[bool | None, Field(description="null until the task has ended")]
    cluster: str
    options: Annotated[dict[str, Any], Field(description="the options, secrets masked")]
    tags: list[str]
    note: NotRequired[Annotated[str | None, Field(description="the user's note")]]
    batch: NotRequired[Annotated[str, Field(description="the batch of the task")]]
    number: NotRequired[Annotated[int, Field(description="its number in the batch, from 0")]]
    item: NotRequired[
        Annotated[dict[str, Any] | None, Field(description="the parameters of its item")]
    ]
    notify: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float | None
    error: TaskError | None
    username: NotRequired[Annotated[str, Field(description="for auditors: whose task this is")]]
    request: NotRequired[Annotated[str, Field(description="for auditors: the id of the request")]]


class Task(TaskSummary):
    """Everything about a task, whatever its state. Auditors get a summary of others' tasks."""

    output: NotRequired[Annotated[Any, Field(description="the result; null until there is one")]]
    plan: NotRequired[
        Annotated[list[PlannedStep], Field(description="all steps of a dry run, in order")]
    ]
    undo: NotRequired[
        Annotated[
            list[str],
            Field(description="what would be undone if a step after the last one failed"),
        ]
    ]
    time_limit: NotRequired[
        Annotated[float, Field(description="of a dry run: the time limit in seconds")]
    ]
    stderr: NotRequired[str | None]
    exit_code: NotRequired[int | None]
    truncated: NotRequired[Annotated[bool, Field(description="true if the output was cut")]]
    log: NotRequired[Annotated[list[str], Field(description="what the operation reported")]]
    progress: NotRequired[TaskProgress | None]
    cancel_asked_at: NotRequired[datetime | None]
    approval: NotRequired[
        Annotated[
            dict[str, Any] | None,
            Field(description="the request for approval and its decision; null if none is needed"),
        ]
    ]
    notification: NotRequired[TaskNotification | None]
    steps: NotRequired[list[TaskStep]]


class TaskPage(TypedDict):
    """A page of tasks, newest first."""

    tasks: list[TaskSummary]
    next: Annotated[str | None, Field(description="cursor of the next page; null on the last")]


class BatchTaskPage(TypedDict):
    """A page of a batch's tasks, in the order of its items."""

    tasks: list[TaskSummary]
    next: Annotated[int | None, Field(description="cursor of the next page; null on the last")]
