"""Batches: many tasks from one request, watched, read as a table, cancelled and repeated as one."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal

import anyio
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api.answers import result, summary
from api.batching import SHOWN_ITEMS, Maker, new_batch
from api.body import read_options
from api.deps import Here, LoggedIn
from api.expansion import BatchBody
from api.history import LONGEST_PAGE, PAGE
from api.idempotency import read_key
from api.making import shown_dry
from api.openapi import PREFERENCES, TEMPLATE
from api.preferences import read_preferences
from api.services import Services
from api.tables import ndjson, table
from api.tasks import Wait, never_ran
from resop.catalog import Kind
from resop.command import Command
from resop.errors import KeyReused, QueueUnavailable, RequestError, UnknownAction, UnknownBatch
from resop.operation import Operation
from resop.options import check_options
from resop.records import Batch, Key, State, Task, now
from resop.tokens import Token

log = logging.getLogger(__name__)

router = APIRouter(tags=["batches"])

RECENT = timedelta(seconds=60)
"""What the rate is taken over."""
BATCHES_PAGE = 20
Ended = Literal[State.FAILED, State.TIMED_OUT, State.CANCELLED, State.LOST, State.SUCCEEDED]
TO_RETRY: list[Ended] = [State.FAILED, State.TIMED_OUT, State.CANCELLED]
"""Not `lost`, unless that is asked for: such a task may have run."""
COLUMNS = ("state", "exit_code", "output", "stderr", "error", "seconds", "task")

_making = anyio.CapacityLimiter(2)
"""Batches that are made at the same time: each takes memory and the processor."""


class BatchShown(BaseModel):
    """A batch and how its tasks stand."""

    batch: str
    action: str
    state: Literal["queued", "running", "ended"]
    success: bool | None
    """Whether all have succeeded; null before all have ended."""
    cluster: str
    size: int
    counts: dict[State, int]
    """Its tasks by state."""
    options: dict[str, Any]
    parameters: list[str]
    sweep: dict[str, Any] | None
    combine: str | None
    at_once: int | None
    tags: list[str]
    retry_of: str | None
    created_at: datetime
    ended_at: datetime | None
    cancel_asked_at: datetime | None


class BatchProgress(BatchShown):
    """The same with its pace."""

    rate: float
    """Tasks a second: over the last minute; of an ended batch over all of its time."""
    expected_end: datetime | None
    """At this rate; null where nothing can be said."""


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


@router.post(
    "/{operator}/{kind}/{action}/batch",
    status_code=202,
    response_model=BatchProgress,
    openapi_extra={
        "parameters": [each for each in PREFERENCES if each["name"] != "Prefer"],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": TEMPLATE.format(model="BatchBody")}}
            },
        },
    },
)
async def launch(
    operator: str, kind: Kind, action: str, services: Here, token: LoggedIn, request: Request
) -> Response:
    """Run an action with many sets of options: one task for each item.

    The items are the combinations of a sweep's values, or are listed. Every one of them is
    checked before anything is written; one that is refused refuses the batch. Tasks of a batch
    run a few at a time, in turn with those of other batches and users, and are found among
    the caller's tasks like any other. `202` with the batch: look at Location.
    """
    found = services.catalog.action(operator, kind, action)
    if isinstance(found, Operation) and found.in_api:
        raise UnknownAction(f"{found.title} runs by itself only, not in a batch")
    preferred = read_preferences(request, 0)
    body = check_options(BatchBody, await read_options(request, BatchBody))
    assert isinstance(body, BatchBody)
    batch = new_batch(found, token, preferred.tag, at_once=body.at_once)
    maker = Maker(batch, found, token, services, preferred, request.state.request_id)
    asked = {"batch": body.model_dump(by_alias=True)}
    return await _launch(maker, lambda: maker.from_body(body), asked, services, request)


@router.get("/batches")
def list_batches(
    services: Here,
    token: LoggedIn,
    limit: Annotated[int, Query(ge=1, le=100)] = BATCHES_PAGE,
    cursor: Annotated[str | None, Query(max_length=36, description="'next' of a page")] = None,
) -> BatchList:
    """The caller's batches on this cluster, newest first."""
    found = services.batches.batches(token.username, token.cluster, limit=limit + 1, before=cursor)
    page = found[:limit]
    counts = services.batches.counts(batch.id for batch in page)
    return BatchList(
        batches=[BatchShown(**_shown(batch, counts.get(batch.id, {}))) for batch in page],
        next=page[-1].id if len(found) > limit else None,
    )


@router.get("/batches/{batch_id}")
async def show_batch(
    batch_id: str, services: Here, token: LoggedIn, wait: Wait = 0
) -> BatchProgress:
    """One batch: how many tasks are in which state, its pace, and when it may end."""
    with services.waiters.waiting(batch_id) as waiter:
        await _own_batch(services, token, batch_id)
        shown = await _progress(services, batch_id)
        deadline = time.monotonic() + wait
        while shown.state != "ended" and (left := deadline - time.monotonic()) > 0:
            await waiter.wait(left)
            shown = await _progress(services, batch_id)
    return shown


@router.get("/batches/{batch_id}/tasks")
async def list_tasks(
    batch_id: str,
    services: Here,
    token: LoggedIn,
    state: State | None = None,
    limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE)] = PAGE,
    cursor: Annotated[int | None, Query(description="'next' of a page")] = None,
) -> TaskList:
    """Its tasks in the order of the items, without their output."""
    await _own_batch(services, token, batch_id)
    found = await run_in_threadpool(
        services.batches.tasks, batch_id, limit=limit + 1, after=cursor, state=state
    )
    page = found[:limit]
    further = page[-1]["number"] if len(found) > limit else None
    return TaskList(tasks=[summary(task) for task in page], next=further)


States = Annotated[list[State], Query(description="tasks in one of these states; all if not given")]


@router.get("/batches/{batch_id}/results.ndjson", response_class=StreamingResponse)
async def results_ndjson(
    batch_id: str,
    services: Here,
    token: LoggedIn,
    state: States = [],  # noqa: B006
) -> StreamingResponse:
    """What became of each item, in their order: a JSON object a line."""
    await _own_batch(services, token, batch_id)
    return ndjson(_row(task) for task in services.batches.whole_tasks(batch_id, state))


@router.get("/batches/{batch_id}/results.csv", response_class=StreamingResponse)
async def results_csv(
    batch_id: str,
    services: Here,
    token: LoggedIn,
    state: States = [],  # noqa: B006
) -> StreamingResponse:
    """The same as a table (RFC 4180): each parameter is a column, beside what came of it.

    A parameter that is named like another column has `item.` before its name.
    """
    batch = await _own_batch(services, token, batch_id)
    columns = {name: f"item.{name}" if name in _FIXED else name for name in batch.parameters}
    tasks = services.batches.whole_tasks(batch_id, state)
    return table(("number", *columns.values(), *COLUMNS), _flat(tasks, columns))


@router.delete(
    "/batches/{batch_id}",
    response_model=BatchProgress,
    responses={202: {"description": "asked to end; some of its tasks still run"}},
)
async def cancel_batch(
    batch_id: str, services: Here, token: LoggedIn, response: Response, wait: Wait = 0
) -> BatchProgress:
    """Cancel all of its tasks: those that are queued never run, those that run are ended.

    200 with the batch when all have ended, 202 while some still run.
    """
    await _own_batch(services, token, batch_id)
    await run_in_threadpool(_cancel, services, batch_id)
    shown = await show_batch(batch_id, services, token, wait)
    if shown.state != "ended":
        response.status_code = 202
        response.headers.update(_look_again(batch_id))
    return shown


@router.post(
    "/batches/{batch_id}/retry",
    status_code=202,
    response_model=BatchProgress,
    openapi_extra={"parameters": [each for each in PREFERENCES if each["name"] != "Prefer"]},
)
async def retry(
    batch_id: str,
    services: Here,
    token: LoggedIn,
    request: Request,
    state: Annotated[
        list[Ended], Query(description="states of the tasks to repeat; 'lost' only if given")
    ] = TO_RETRY,
) -> Response:
    """A new batch of the items whose tasks failed, timed out or were cancelled.

    Refused where options were secret: they are not kept, so that such a batch has to be sent
    again by who knows them.
    """
    old = await _own_batch(services, token, batch_id)
    if old.secret:
        raise RequestError(
            "some of this batch's options were secret and are not kept: it cannot be made again "
            "from the record; send its items as a new batch"
        )
    kind: Kind = "cmd" if old.kind == Command.kind else "opn"
    action = services.catalog.action(old.operator, kind, old.action)
    preferred = read_preferences(request, 0)
    given = await run_in_threadpool(services.batches.given, batch_id, state)
    if not given:
        raise RequestError(f"none of its tasks is {' or '.join(state)}")
    batch = new_batch(
        action, token, preferred.tag or old.tags, at_once=old.at_once, retry_of=old.id
    )
    preferred = preferred.model_copy(update={"tag": batch.tags})
    maker = Maker(batch, action, token, services, preferred, request.state.request_id)
    asked = {"retry": batch_id, "state": state}
    return await _launch(maker, lambda: maker.again(old, given), asked, services, request)


async def _launch(
    maker: Maker, make: Callable[[], list[Task]], asked: Any, services: Services, request: Request
) -> Response:
    """Make the tasks of a batch, write them, have them dealt out; or show what would be."""
    batch = maker.batch
    dry, key = maker.preferred.dry_run, read_key(request, services.sealer, batch, asked)
    if not dry and key and (earlier := await run_in_threadpool(services.records.key, key.id)):
        return await _accepted(services, _same(earlier, key))
    tasks = await anyio.to_thread.run_sync(make, limiter=_making)
    if dry:
        return JSONResponse(_dry(batch, tasks[:SHOWN_ITEMS], maker.first_steps))
    add = partial(services.batches.add, batch, tasks, key)
    if (earlier := await anyio.to_thread.run_sync(add, limiter=_making)) and key:
        return await _accepted(services, _same(earlier, key))
    await run_in_threadpool(_tell, services.herald.batch)
    return await _accepted(services, batch.id)


def _same(earlier: Key, key: Key) -> str:
    """The batch that an earlier request has made; KeyReused if it was another request."""
    if earlier.digest != key.digest:
        raise KeyReused
    return earlier.task


async def _accepted(services: Services, batch_id: str) -> Response:
    shown = await _progress(services, batch_id)
    return JSONResponse(shown.model_dump(mode="json"), 202, _look_again(batch_id))


def _look_again(batch_id: str) -> dict[str, str]:
    return {"Location": f"/batches/{batch_id}", "Retry-After": "1"}


async def _own_batch(services: Services, token: Token, batch_id: str) -> Batch:
    """A batch of the caller; UnknownBatch for anybody else's."""
    batch = await run_in_threadpool(services.batches.batch, batch_id)
    if batch is None or (batch.username, batch.cluster) != (token.username, token.cluster):
        raise UnknownBatch(f"there is no batch {batch_id!r}")
    return batch


def _cancel(services: Services, batch_id: str) -> None:
    """End what is queued, mark what runs; then say so. The record holds without the words."""
    running = services.batches.cancel(batch_id, never_ran() or {})

    def tell() -> None:
        for task_id in running:
            services.herald.cancel(task_id)
        services.herald.many_ended()
        services.herald.batch()

    _tell(tell)


def _tell(words: Callable[[], None]) -> None:
    try:
        words()
    except QueueUnavailable:
        log.warning("no worker was told of a batch: Redis is away")


async def _progress(services: Services, batch_id: str) -> BatchProgress:
    return await run_in_threadpool(_read_progress, services, batch_id)


def _read_progress(services: Services, batch_id: str) -> BatchProgress:
    batch = services.batches.batch(batch_id)
    if batch is None or batch.ready_at is None:
        raise UnknownBatch(f"there is no batch {batch_id!r}")
    shown = _shown(batch, services.batches.counts([batch_id]).get(batch_id, {}))
    until = batch.ended_at or now()
    since = batch.ready_at if batch.ended_at else max(batch.ready_at, until - RECENT)
    ran = services.batches.ran_since(batch_id, since)
    rate = ran / max((until - since).total_seconds(), 1e-3)
    left = sum(count for state, count in shown["counts"].items() if not state.ended)
    end = until + timedelta(seconds=left / rate) if left and rate else None
    return BatchProgress(**shown, rate=round(rate, 3), expected_end=end)


def _shown(batch: Batch, counts: Mapping[State, int]) -> dict[str, Any]:
    queued, running = counts.get(State.QUEUED, 0), counts.get(State.RUNNING, 0)
    state = "ended" if not queued + running else "queued" if queued == batch.size else "running"
    ended = state == "ended"
    return {
        **batch.model_dump(),
        "batch": batch.id,
        "action": f"{batch.operator}:{batch.action}",
        "state": state,
        "success": counts.get(State.SUCCEEDED) == batch.size if ended else None,
        "counts": {state: counts.get(state, 0) for state in State},
    }


def _dry(batch: Batch, tasks: list[Task], first_steps: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "success": True,
        "dry_run": True,
        "action": f"{batch.operator}:{batch.action}",
        "size": batch.size,
        "items": [
            {"item": task.item, **shown_dry(task, first)}
            for task, first in itertools.zip_longest(tasks, first_steps, fillvalue={})
        ],
        "time_limit": tasks[0].time_limit,
    }


def _row(task: Task) -> dict[str, Any]:
    shown = result(task)
    return {
        "number": task.number,
        "item": task.item,
        "state": task.state,
        "exit_code": task.exit_code,
        "output": task.output,
        "stderr": task.stderr,
        "error": task.error,
        "seconds": shown["seconds"],
        "task": task.id,
    }


_FIXED = {"number", *COLUMNS}


def _flat(tasks: Iterator[Task], columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Rows of a table: the values of the parameters under the names of their columns."""
    for task in tasks:
        row = _row(task)
        item = row.pop("item") or {}
        yield {columns[name]: value for name, value in item.items()} | row
