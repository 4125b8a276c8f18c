"""A task as server-sent events, each once and resumable.

Nothing is kept for it: events are what the record has beyond the place that a watcher has
reached, and their ids are such places. Output of a step that runs for long stands there in rows,
in the order in which it came; that of others comes, whole, with their end. So they can be had
after the end as well, from any API process, whatever became of Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from api.auth.dependencies import CurrentToken, ServicesDep, still_logged_in
from api.state.services import Services
from api.state.task_watchers import TaskSnapshot
from api.tasks.event_stream import Cursor, events_after
from api.tasks.queries import own_task
from resop.errors import ResopError
from resop.security.tokens import Token
from resop.storage.models import State
from resop.storage.step_output import StepOutputStore

router = APIRouter(prefix="/tasks", tags=["tasks"])

HEARTBEAT_SECONDS = 15.0
QUEUED_SECONDS = 1.0
"""No word comes of a task that begins to run: so often is looked for it."""
RETRY_MILLISECONDS = 1000
PORTION = 1 << 20
"""Characters of news that are said at once ..."""
PORTIONS = 8
"""... and so many portions are kept for others who come to the same place."""


async def _said(services: Services, seen: TaskSnapshot, place: Cursor) -> tuple[str, Cursor]:
    """Some of the news as text, and the place after them; most watchers are at the same place."""
    said = seen.rendered.get(place)
    if said is None or (said.done() and said.exception()):
        if len(seen.rendered) >= PORTIONS:
            del seen.rendered[next(iter(seen.rendered))]
        portion = run_in_threadpool(_portion, services.step_outputs, seen, place)
        seen.rendered[place] = said = asyncio.ensure_future(portion)
    return await asyncio.shield(said)


def _portion(printed: StepOutputStore, seen: TaskSnapshot, place: Cursor) -> tuple[str, Cursor]:
    """News of about a megabyte at most."""
    said, size = [], 0
    for event in events_after(seen, place, printed):
        said.append(str(event))
        size += len(said[-1])
        place = event.place
        if size >= PORTION:
            break
    return "".join(said), place


@router.get(
    "/{task_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"description": "events as they happen", "content": {"text/event-stream": {}}},
        204: {"description": "all events were received"},
    },
)
async def watch_task(
    task_id: str,
    services: ServicesDep,
    token: CurrentToken,
    last_event_id: Annotated[str | None, Header(max_length=16_384)] = None,
) -> Response:
    """A task as server-sent events: state, log, step, output, step_ended, progress, done.

    All of them from the first on, or those after `Last-Event-ID`; then as they happen, until it
    is done.
    """
    await own_task(services, token, task_id)
    place = Cursor.read(last_event_id) if last_event_id else Cursor()
    if place.over:
        return Response(status_code=204)  # so that a browser does not come back
    return StreamingResponse(
        _stream(services, token, task_id, place),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _stream(
    services: Services, token: Token, task_id: str, place: Cursor
) -> AsyncIterator[str]:
    """Events until the last, or until the watcher has to come again."""
    yield f"retry: {RETRY_MILLISECONDS}\n\n"
    with services.watches.feed(task_id) as feed, contextlib.suppress(ResopError):
        quiet_since = time.monotonic()
        while not services.watches.closed and await still_logged_in(services, token):
            changed = feed.changed
            seen = await feed.snapshot()
            said, place = await _said(services, seen, place)
            if said:
                quiet_since = time.monotonic()
                yield said
                if place.over:
                    return
                continue  # there may be more of them
            if time.monotonic() - quiet_since >= HEARTBEAT_SECONDS:
                quiet_since = time.monotonic()
                yield ": nothing new\n\n"
            queued = seen.task.state == State.QUEUED
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUEUED_SECONDS if queued else HEARTBEAT_SECONDS):
                    await changed.wait()
                    continue
            feed.refresh()
