"""The caller's batches: watched, read as a table, cancelled as one."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api.auth.dependencies import CurrentToken, ServicesDep
from api.http.export import ndjson, table
from api.routes.batch_models import BatchProgress, BatchShown, look_again, own_batch, progress
from api.routes.task_list import LONGEST_PAGE, PAGE
from api.routes.tasks import Wait, never_ran
from api.state.services import Services
from resop.errors import QueueUnavailable
from resop.storage.models import State, Task
from resop.storage.serializers import batch_summary, result_json, task_summary

log = logging.getLogger(__name__)

router = APIRouter(prefix="/batches", tags=["batches"])

BATCHES_PAGE = 20
COLUMNS = ("state", "exit_code", "output", "stderr", "error", "seconds", "task")


class BatchList(BaseModel):
    """A page of batches."""

    batches: list[BatchShown]
    next: str | None
    """The cursor of the following page."""


class TaskList(BaseModel):
    """A page of a batch's tasks."""

    tasks: list[dict[str, Any]]
    next: int | None
    """The cursor of the following page."""


@router.get("")
def list_batches(
    services: ServicesDep,
    token: CurrentToken,
    limit: Annotated[int, Query(ge=1, le=100)] = BATCHES_PAGE,
    cursor: Annotated[str | None, Query(max_length=36, description="'next' of a page")] = None,
) -> BatchList:
    """The caller's batches on this cluster, newest first."""
    found = services.batches.batches(token.username, token.cluster, limit=limit + 1, before=cursor)
    page = found[:limit]
    counts = services.batches.counts(batch.id for batch in page)
    return BatchList(
        batches=[BatchShown(**batch_summary(batch, counts.get(batch.id, {}))) for batch in page],
        next=page[-1].id if len(found) > limit else None,
    )


@router.get("/{batch_id}")
async def show_batch(
    batch_id: str, services: ServicesDep, token: CurrentToken, wait: Wait = 0
) -> BatchProgress:
    """One batch: how many tasks are in which state, its pace, and when it may end."""
    with services.waiters.waiting(batch_id) as waiter:
        await own_batch(services, token, batch_id)
        found = await progress(services, batch_id)
        deadline = time.monotonic() + wait
        while found.state != "ended" and (left := deadline - time.monotonic()) > 0:
            await waiter.wait(left)
            found = await progress(services, batch_id)
    return found


@router.get("/{batch_id}/tasks")
async def list_tasks(
    batch_id: str,
    services: ServicesDep,
    token: CurrentToken,
    state: State | None = None,
    limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE)] = PAGE,
    cursor: Annotated[int | None, Query(description="'next' of a page")] = None,
) -> TaskList:
    """Its tasks in the order of the items, without their output."""
    await own_batch(services, token, batch_id)
    found = await run_in_threadpool(
        services.batches.tasks, batch_id, limit=limit + 1, after=cursor, state=state
    )
    page = found[:limit]
    further = page[-1]["number"] if len(found) > limit else None
    return TaskList(tasks=[task_summary(task) for task in page], next=further)


States = Annotated[list[State], Query(description="tasks in one of these states; all if not given")]


@router.get("/{batch_id}/results.ndjson", response_class=StreamingResponse)
async def results_ndjson(
    batch_id: str,
    services: ServicesDep,
    token: CurrentToken,
    state: States = [],  # noqa: B006
) -> StreamingResponse:
    """What became of each item, in their order: a JSON object a line."""
    await own_batch(services, token, batch_id)
    return ndjson(_row(task) for task in services.batches.whole_tasks(batch_id, state))


@router.get("/{batch_id}/results.csv", response_class=StreamingResponse)
async def results_csv(
    batch_id: str,
    services: ServicesDep,
    token: CurrentToken,
    state: States = [],  # noqa: B006
) -> StreamingResponse:
    """The same as a table (RFC 4180): each parameter is a column, beside what came of it.

    A parameter that is named like another column has `item.` before its name.
    """
    batch = await own_batch(services, token, batch_id)
    columns = {name: f"item.{name}" if name in _FIXED else name for name in batch.parameters}
    tasks = services.batches.whole_tasks(batch_id, state)
    return table(("number", *columns.values(), *COLUMNS), _flat(tasks, columns))


@router.delete(
    "/{batch_id}",
    response_model=BatchProgress,
    responses={202: {"description": "asked to end; some of its tasks still run"}},
)
async def cancel_batch(
    batch_id: str, services: ServicesDep, token: CurrentToken, response: Response, wait: Wait = 0
) -> BatchProgress:
    """Cancel all of its tasks: those that are queued never run, those that run are ended.

    200 with the batch when all have ended, 202 while some still run.
    """
    await own_batch(services, token, batch_id)
    await run_in_threadpool(_cancel, services, batch_id)
    left = await show_batch(batch_id, services, token, wait)
    if left.state != "ended":
        response.status_code = 202
        response.headers.update(look_again(batch_id))
    return left


def _cancel(services: Services, batch_id: str) -> None:
    """End what is queued, mark what runs; then say so. The record holds without the words."""
    running = services.batches.cancel(batch_id, never_ran() or {})
    try:
        for task_id in running:
            services.publisher.cancel(task_id)
        services.publisher.many_ended()
        services.publisher.batch()
    except QueueUnavailable:
        log.warning("nobody was told that batch %s is cancelled: Redis is away", batch_id)


def _row(task: Task) -> dict[str, Any]:
    return {
        "number": task.number,
        "item": task.parameters,
        "state": task.state,
        "exit_code": task.exit_code,
        "output": task.output,
        "stderr": task.stderr,
        "error": task.error,
        "seconds": result_json(task)["seconds"],
        "task": task.id,
    }


_FIXED = {"number", *COLUMNS}


def _flat(tasks: Iterator[Task], columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Rows of a table: the values of the parameters under the names of their columns."""
    for task in tasks:
        row = _row(task)
        item = row.pop("item") or {}
        yield {columns[name]: value for name, value in item.items()} | row
