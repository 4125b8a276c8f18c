"""List, watch, export and cancel the caller's batches."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from api.auth.dependencies import CurrentToken, ServicesDep, WritingToken
from api.routes.batch_models import (
    BatchProgress,
    BatchSummary,
    batch_headers,
    progress,
)
from api.routes.open_request import COUNTED_WAIT, Wait
from api.routes.task_list import MAX_TASKS_PER_PAGE
from api.routes.task_models import BatchTaskPage
from api.tasks.batch_progress import own_batch
from api.tasks.cancellation import request_batch_cancellation
from api.tasks.queries import TASKS_PER_PAGE
from api.tasks.waiting import wait_seconds
from resop.storage.models import State
from resop.storage.serializers import batch_summary, task_summary

router = APIRouter(prefix="/batches", tags=["batches"])

BATCHES_PER_PAGE = 20


class BatchList(BaseModel):
    """A page of batches."""

    batches: list[BatchSummary]
    next: Annotated[str | None, Field(description="cursor of the next page; null on the last")]


class TaskList(BaseModel):
    """A page of a batch's tasks."""

    tasks: list[dict[str, Any]]
    next: Annotated[int | None, Field(description="cursor of the next page; null on the last")]


@router.get("")
def list_batches(
    services: ServicesDep,
    token: CurrentToken,
    limit: Annotated[
        int, Query(ge=1, le=100, description="Maximum number of batches on a page.")
    ] = BATCHES_PER_PAGE,
    cursor: Annotated[
        str | None,
        Query(max_length=36, description="Continue a listing: `next` of the previous page."),
    ] = None,
) -> BatchList:
    """List the caller's batches on this cluster, newest first."""
    found = services.storage.batches.batches(
        token.username,
        token.cluster,
        limit=limit + 1,
        before=cursor,
        actions=services.access.permissions.visible_actions(token.scope),
    )
    page = found[:limit]
    counts = services.storage.batches.counts(batch.id for batch in page)
    return BatchList(
        batches=[BatchSummary(**batch_summary(batch, counts.get(batch.id, {}))) for batch in page],
        next=page[-1].id if len(found) > limit else None,
    )


@router.get("/{batch_id}", dependencies=[COUNTED_WAIT])
async def show_batch(
    batch_id: str, services: ServicesDep, token: CurrentToken, wait: Wait = 0
) -> BatchProgress:
    """Show a batch: the number of tasks in each state, its rate and its expected end."""
    with services.messaging.waiters.waiting(batch_id) as waiter:
        await own_batch(services, token, batch_id)
        found = await progress(services, batch_id)
        deadline = time.monotonic() + wait
        while found.state != "ended" and (remaining := deadline - time.monotonic()) > 0:
            await waiter.wait(wait_seconds(services, remaining))
            found = await progress(services, batch_id)
    return found


@router.get("/{batch_id}/tasks", responses={200: {"model": BatchTaskPage}})
async def list_tasks(
    batch_id: str,
    services: ServicesDep,
    token: CurrentToken,
    state: Annotated[State | None, Query(description="Only tasks in this state.")] = None,
    limit: Annotated[
        int, Query(ge=1, le=MAX_TASKS_PER_PAGE, description="Maximum number of tasks on a page.")
    ] = TASKS_PER_PAGE,
    cursor: Annotated[
        int | None,
        Query(ge=0, lt=1 << 31, description="Continue a listing: `next` of the previous page."),
    ] = None,
) -> TaskList:
    """List the tasks of a batch in the order of its items, without their output."""
    await own_batch(services, token, batch_id)
    found = await run_in_threadpool(
        services.storage.batches.tasks, batch_id, limit=limit + 1, after=cursor, state=state
    )
    page = found[:limit]
    next_cursor = page[-1]["number"] if len(found) > limit else None
    return TaskList(tasks=[task_summary(task) for task in page], next=next_cursor)


@router.delete(
    "/{batch_id}",
    dependencies=[COUNTED_WAIT],
    response_model=BatchProgress,
    responses={
        202: {"description": "The cancellation was requested; some tasks are still running."}
    },
)
async def cancel_batch(
    batch_id: str, services: ServicesDep, token: WritingToken, response: Response, wait: Wait = 0
) -> BatchProgress:
    """Cancel all tasks of a batch: queued ones never run, running ones are ended on the cluster.

    Answers 200 with the batch if all tasks have ended, 202 while some are still running.
    """
    await own_batch(services, token, batch_id)
    await run_in_threadpool(request_batch_cancellation, services, batch_id)
    batch = await show_batch(batch_id, services, token, wait)
    if batch.state != "ended":
        response.status_code = 202
        response.headers.update(batch_headers(batch_id))
    return batch
