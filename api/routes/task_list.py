"""List, label and export the caller's tasks."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from api.auth.auditors import parse_user, require_auditor
from api.auth.dependencies import CurrentCaller, CurrentToken, ServicesDep, WritingToken
from api.http.body import read_options
from api.http.preferences import Tags
from api.http.row_stream import csv_response, ndjson_response
from api.routes.open_request import COUNTED_TRANSFER
from api.routes.task_models import TaskPage, TaskSummary
from api.tasks.off_loop import off_loop
from api.tasks.queries import TASKS_PER_PAGE, audited_page, own_task, task_page, visible_only
from api.tasks.waiting import get_task
from resop.actions.options import check_options
from resop.storage.models import State, Task
from resop.storage.serializers import task_json, task_summary
from resop.storage.task_search import TaskFilter

router = APIRouter(prefix="/tasks", tags=["tasks"])

MAX_TASKS_PER_PAGE = 500
MAX_NOTE_LENGTH = 4096
EXPORT_COLUMNS = (
    *("task", "action", "dry_run", "state", "created_at", "started_at", "ended_at", "seconds"),
    *("tags", "note", "command", "options", "exit_code", "output", "stderr", "error"),
)


class Labels(BaseModel):
    """The labels of a task that its user can change; omitted ones stay as they are."""

    model_config = ConfigDict(extra="forbid")

    tags: Tags = Field(default=[], description="Tags that replace the task's present ones.")
    note: Annotated[str, Field(max_length=MAX_NOTE_LENGTH)] | None = Field(
        default=None, description="A note; null removes it."
    )


def _task_filter(
    state: Annotated[State | None, Query(description="Only tasks in this state.")] = None,
    operator: Annotated[str | None, Query(description="Only tasks of this operator.")] = None,
    action: Annotated[
        str | None, Query(description="Only tasks of the action with this name.")
    ] = None,
    batch: Annotated[str | None, Query(description="Only tasks of this batch (id).")] = None,
    tag: Annotated[
        Tags | None, Query(description="Only tasks with this tag; repeat for several.")
    ] = None,
    text: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=200,
            description="Only tasks with this text in their command line, options or note.",
        ),
    ] = None,
    since: Annotated[
        AwareDatetime | None, Query(description="Only tasks created at this time or later.")
    ] = None,
    until: Annotated[
        AwareDatetime | None, Query(description="Only tasks created before this time.")
    ] = None,
) -> TaskFilter:
    return TaskFilter(
        state=state,
        operator=operator,
        action=action,
        batch=batch,
        tag=tag or [],
        text=text,
        since=since,
        until=until,
    )


FilterQuery = Annotated[TaskFilter, Depends(_task_filter)]


@router.get("", responses={200: {"model": TaskPage}})
def list_tasks(
    services: ServicesDep,
    caller: CurrentCaller,
    task_filter: FilterQuery,
    user: Annotated[
        str | None,
        Query(
            max_length=129,
            description="For auditors: the tasks of this user, NAME@CLUSTER, without their output.",
        ),
    ] = None,
    limit: Annotated[
        int, Query(ge=1, le=MAX_TASKS_PER_PAGE, description="Maximum number of tasks on a page.")
    ] = TASKS_PER_PAGE,
    cursor: Annotated[
        str | None,
        Query(max_length=36, description="Continue a listing: `next` of the previous page."),
    ] = None,
) -> dict[str, Any]:
    """List the caller's tasks on this cluster, newest first, without their output.

    `next` is the cursor of the next page; null on the last page.
    """
    token = caller.token
    if user is not None:
        owner = parse_user(services, user)
        if owner != token.identity:
            require_auditor(services, caller)
            caller.context.options = {"user": str(owner)}
            return audited_page(services, owner, task_filter, limit=limit, cursor=cursor)
    return task_page(services, token, task_filter, limit=limit, cursor=cursor)


@router.get("/export.ndjson", dependencies=[COUNTED_TRANSFER], response_class=StreamingResponse)
def export_ndjson(
    services: ServicesDep, token: CurrentToken, task_filter: FilterQuery
) -> StreamingResponse:
    """Export all matching tasks with their output: one JSON object per line."""
    visible = visible_only(services, token, task_filter)
    tasks = services.storage.search.whole_tasks(token.username, token.cluster, visible)
    return ndjson_response(_exported(task) for task in tasks)


@router.get("/export.csv", dependencies=[COUNTED_TRANSFER], response_class=StreamingResponse)
def export_csv(
    services: ServicesDep, token: CurrentToken, task_filter: FilterQuery
) -> StreamingResponse:
    """Export all matching tasks as CSV (RFC 4180); lists and objects are JSON in their cell."""
    visible = visible_only(services, token, task_filter)
    tasks = services.storage.search.whole_tasks(token.username, token.cluster, visible)
    return csv_response(EXPORT_COLUMNS, (_exported(task) for task in tasks))


@router.patch(
    "/{task_id}",
    responses={200: {"model": TaskSummary}},
    openapi_extra={
        "requestBody": {"content": {"application/json": {"schema": Labels.model_json_schema()}}}
    },
)
async def label_task(
    task_id: str, services: ServicesDep, token: WritingToken, request: Request
) -> dict[str, Any]:
    """Set a task's tags, its note, or both; this also works after the task has ended."""
    await own_task(services, token, task_id)
    options = await read_options(request, Labels)
    labels = await off_loop(partial(check_options, Labels, options), options)
    await run_in_threadpool(
        services.storage.tasks.label, task_id, **labels.model_dump(exclude_unset=True)
    )
    return task_summary((await get_task(services, task_id)).model_dump())


def _exported(task: Task) -> dict[str, Any]:
    exported = task_json(task, [])
    del exported["steps"], exported["notification"], exported["approval"]
    return exported
