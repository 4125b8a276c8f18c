"""Stream a task's events (server-sent events): each exactly once, resumable.

No event is stored. Events are derived from what the database has beyond a cursor, and the id of
an event is such a cursor. Output of a long step is in the database in rows, in the order in which
it arrived; the output of a short step comes as a whole, with its end. So events are also available
after the end of a task, from any API process, whatever happened to Redis.
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
from api.routes.open_request import COUNTED_STREAM
from api.state.services import Services
from api.state.task_watchers import TaskSnapshot
from api.tasks.event_stream import Cursor, EventStream
from api.tasks.queries import own_task
from resop.errors import ResopError
from resop.security.tokens import Token
from resop.storage.models import NOT_BEGUN
from resop.storage.step_output import StepOutputStore

router = APIRouter(prefix="/tasks", tags=["tasks"])

STREAM_HEARTBEAT_SECONDS = 15.0
STREAM_POLL_SECONDS = 1.0
"""How often the database is read where no message announces a change."""
RECONNECT_MILLISECONDS = 1000
"""How long a client waits before it reconnects."""
PAGE_CHARACTERS = 1 << 20
"""Events are rendered in pages of about this size."""
MAX_CACHED_PAGES = 8
"""Pages of a snapshot that are cached for other watchers with the same cursor."""


@router.get(
    "/{task_id}/events",
    dependencies=[COUNTED_STREAM],
    response_class=StreamingResponse,
    responses={
        200: {"description": "Events as they happen.", "content": {"text/event-stream": {}}},
        204: {"description": "All events were received."},
    },
)
async def watch_task(
    task_id: str,
    services: ServicesDep,
    token: CurrentToken,
    last_event_id: Annotated[
        str | None,
        Header(max_length=16_384, description="Continue after this event; sent by browsers."),
    ] = None,
) -> Response:
    """Stream a task as server-sent events: state, log, step, output, step_ended, progress, done.

    The stream begins with the first event, or after `Last-Event-ID`, and continues until the
    task has ended.
    """
    await own_task(services, token, task_id)
    cursor = Cursor.parse(last_event_id) if last_event_id else Cursor()
    if cursor.is_last:
        return Response(status_code=204)  # tells a browser not to reconnect
    return StreamingResponse(
        _stream(services, token, task_id, cursor),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _stream(
    services: Services, token: Token, task_id: str, cursor: Cursor
) -> AsyncIterator[str]:
    """Yield events until the last one, or until the client has to reconnect."""
    yield f"retry: {RECONNECT_MILLISECONDS}\n\n"
    with services.messaging.watches.watch(task_id) as watch, contextlib.suppress(ResopError):
        quiet_since = time.monotonic()
        while not services.messaging.watches.closed and await still_logged_in(services, token):
            changed = watch.changed
            snapshot = await watch.snapshot()
            text, cursor = await _page(services, snapshot, cursor)
            if text:
                quiet_since = time.monotonic()
                yield text
                if cursor.is_last:
                    return
                continue  # there may be more pages
            if time.monotonic() - quiet_since >= STREAM_HEARTBEAT_SECONDS:
                quiet_since = time.monotonic()
                yield ": nothing new\n\n"
            # No message announces that a queued task begins, or anything without a subscription.
            unannounced = (
                snapshot.task.state in NOT_BEGUN or not services.messaging.subscriber.connected
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(
                    STREAM_POLL_SECONDS if unannounced else STREAM_HEARTBEAT_SECONDS
                ):
                    await changed.wait()
                    continue
            watch.refresh()


async def _page(services: Services, snapshot: TaskSnapshot, cursor: Cursor) -> tuple[str, Cursor]:
    """Return the next events as text, and the cursor after them.

    Most watchers have the same cursor, so the text is rendered once for all of them.
    """
    page = snapshot.rendered.get(cursor)
    if page is None or (page.done() and page.exception()):
        if len(snapshot.rendered) >= MAX_CACHED_PAGES:
            del snapshot.rendered[next(iter(snapshot.rendered))]
        rendering = run_in_threadpool(_render, services.storage.step_outputs, snapshot, cursor)
        snapshot.rendered[cursor] = page = asyncio.ensure_future(rendering)
    return await asyncio.shield(page)


def _render(outputs: StepOutputStore, snapshot: TaskSnapshot, cursor: Cursor) -> tuple[str, Cursor]:
    events, size = [], 0
    for event in EventStream(snapshot, cursor, outputs):
        events.append(str(event))
        size += len(events[-1])
        cursor = event.cursor
        if size >= PAGE_CHARACTERS:
            break
    return "".join(events), cursor
