"""Tasks: a user's own, in a list or one by one, waiting for its end if asked to."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from api.answers import summary, view
from api.deps import Here, LoggedIn
from api.preferences import LONGEST_WAIT
from api.waiting import look, wait_for_end
from resop.errors import UnknownTask
from resop.records import State

router = APIRouter(prefix="/tasks", tags=["tasks"])

PAGE = 50
LONGEST_PAGE = 500


@router.get("")
def list_tasks(
    services: Here,
    token: LoggedIn,
    state: State | None = None,
    operator: str | None = None,
    action: str | None = None,
    limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE)] = PAGE,
    cursor: Annotated[str | None, Query(max_length=36, description="'next' of a page")] = None,
) -> dict[str, Any]:
    """The caller's tasks on this cluster, newest first, without their output.

    `next` is the cursor of the following page, null on the last.
    """
    found = services.records.tasks(
        token.username,
        token.cluster,
        limit=limit + 1,
        before=cursor,
        state=state,
        operator=operator,
        action=action,
    )
    page = found[:limit]
    further = page[-1]["id"] if len(found) > limit else None
    return {"tasks": [summary(task) for task in page], "next": further}


@router.get("/{task_id}")
async def show_task(
    task_id: str,
    services: Here,
    token: LoggedIn,
    wait: Annotated[
        float, Query(ge=0, le=LONGEST_WAIT, description="seconds to wait for its end")
    ] = 0,
) -> dict[str, Any]:
    """One task, whatever its state: options, steps, log, times, output or error."""
    with services.waiters.waiting(task_id) as waiter:
        task = await look(services, task_id)
        if (task.username, task.cluster) != (token.username, token.cluster):
            raise UnknownTask(f"there is no task {task_id!r}")
        if wait and not State(task.state).ended:
            await wait_for_end(services, task, waiter, time.monotonic() + wait)
            task = await look(services, task_id)
    return view(task, await run_in_threadpool(services.records.steps, task_id))
