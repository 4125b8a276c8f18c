"""The caller's tasks: listed, labelled, exported."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from api.auth.dependencies import CurrentToken, ServicesDep
from api.http.body import read_options
from api.http.export import ndjson, table
from api.http.preferences import Tags
from api.routes.tasks import own_task
from api.tasks.waiting import get_task
from resop.actions.options import check_options
from resop.storage.models import State, Task
from resop.storage.serializers import task_json, task_summary
from resop.storage.task_search import TaskFilter

router = APIRouter(prefix="/tasks", tags=["tasks"])

PAGE = 50
LONGEST_PAGE = 500
LONGEST_NOTE = 4096
COLUMNS = (
    *("task", "action", "state", "created_at", "started_at", "ended_at", "seconds"),
    *("tags", "note", "command", "options", "exit_code", "output", "stderr", "error"),
)


class Labels(BaseModel):
    """What a user may write on a task; what is not given stays."""

    model_config = ConfigDict(extra="forbid")

    tags: Tags = Field(default=[], description="labels, in place of those it has")
    note: Annotated[str, Field(max_length=LONGEST_NOTE)] | None = None


def _wanted(
    state: State | None = None,
    operator: str | None = None,
    action: str | None = None,
    batch: str | None = None,
    tag: Annotated[Tags | None, Query(description="all of these are among its tags")] = None,
    text: Annotated[
        str | None,
        Query(min_length=1, max_length=200, description="in its command line, options or note"),
    ] = None,
    since: Annotated[AwareDatetime | None, Query(description="made then or later")] = None,
    until: Annotated[AwareDatetime | None, Query(description="made before")] = None,
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


FilterQuery = Annotated[TaskFilter, Depends(_wanted)]


@router.get("")
def list_tasks(
    services: ServicesDep,
    token: CurrentToken,
    wanted: FilterQuery,
    limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE)] = PAGE,
    cursor: Annotated[str | None, Query(max_length=36, description="'next' of a page")] = None,
) -> dict[str, Any]:
    """The caller's tasks on this cluster, newest first, without their output.

    `next` is the cursor of the following page, null on the last.
    """
    found = services.search.tasks(
        token.username, token.cluster, limit=limit + 1, before=cursor, matching=wanted
    )
    page = found[:limit]
    further = page[-1]["id"] if len(found) > limit else None
    return {"tasks": [task_summary(task) for task in page], "next": further}


@router.get("/export.ndjson", response_class=StreamingResponse)
def export_ndjson(
    services: ServicesDep, token: CurrentToken, wanted: FilterQuery
) -> StreamingResponse:
    """The same tasks, all pages of them, with their output: a JSON object a line."""
    tasks = services.search.whole_tasks(token.username, token.cluster, wanted)
    return ndjson(_exported(task) for task in tasks)


@router.get("/export.csv", response_class=StreamingResponse)
def export_csv(
    services: ServicesDep, token: CurrentToken, wanted: FilterQuery
) -> StreamingResponse:
    """The same as a table (RFC 4180); what is no text, number or time is JSON."""
    tasks = services.search.whole_tasks(token.username, token.cluster, wanted)
    return table(COLUMNS, (_exported(task) for task in tasks))


@router.patch(
    "/{task_id}",
    openapi_extra={
        "requestBody": {"content": {"application/json": {"schema": Labels.model_json_schema()}}}
    },
)
async def label_task(
    task_id: str, services: ServicesDep, token: CurrentToken, request: Request
) -> dict[str, Any]:
    """Set a task's tags, its note, or both, also after it has ended."""
    await own_task(services, token, task_id)
    labels = check_options(Labels, await read_options(request, Labels))
    await run_in_threadpool(services.tasks.label, task_id, **labels.model_dump(exclude_unset=True))
    return task_summary((await get_task(services, task_id)).model_dump())


def _exported(task: Task) -> dict[str, Any]:
    shown = task_json(task, [])
    del shown["steps"], shown["notification"]
    return shown
