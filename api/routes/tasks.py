"""One task of the caller: looked at, waiting for its end if asked to, or cancelled."""

from __future__ import annotations

import logging
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from starlette.concurrency import run_in_threadpool

from api.auth.dependencies import CurrentToken, ServicesDep
from api.http.preferences import LONGEST_WAIT
from api.http.responses import retry_headers
from api.state.services import Services
from api.tasks.waiting import get_task, wait_for_end
from resop.actions.execute import ActionOutcome
from resop.errors import QueueUnavailable, TaskCancelled, UnknownTask
from resop.security.tokens import Token
from resop.storage.models import State, Task
from resop.storage.serializers import task_json
from resop.storage.webhooks import WebhookStore
from resop.types import ActionKind

log = logging.getLogger(__name__)

router = APIRouter(prefix="/tasks", tags=["tasks"])

Wait = Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="seconds to wait for its end")]


@router.get("/{task_id}")
async def show_task(
    task_id: str,
    services: ServicesDep,
    token: CurrentToken,
    wait: Wait = 0,
) -> dict[str, Any]:
    """One task, whatever its state: options, steps, log, times, output or error."""
    with services.waiters.waiting(task_id) as waiter:
        task = await own_task(services, token, task_id)
        if wait and not State(task.state).ended:
            await wait_for_end(services, task, waiter, time.monotonic() + wait)
            task = await get_task(services, task_id)
    return await run_in_threadpool(_view, services, task)


@router.delete("/{task_id}", responses={202: {"description": "asked to end; it still runs"}})
async def cancel_task(
    task_id: str,
    services: ServicesDep,
    token: CurrentToken,
    response: Response,
    wait: Wait = 0,
) -> dict[str, Any]:
    """Cancel a task: one that is queued never runs, one that runs is ended on the cluster.

    200 with the task when it has ended, be it before; 202 while it still runs. What it says in
    the end tells whether its step was seen to end, and what was undone.
    """
    with services.waiters.waiting(task_id) as waiter:
        task = await own_task(services, token, task_id)
        if not State(task.state).ended:
            await run_in_threadpool(_cancel, services, task_id)
            task = await get_task(services, task_id)
        if wait and not State(task.state).ended:
            await wait_for_end(services, task, waiter, time.monotonic() + wait)
            task = await get_task(services, task_id)
    if not State(task.state).ended:
        response.status_code = 202
        response.headers.update(retry_headers(task_id))
    return await run_in_threadpool(_view, services, task)


async def own_task(services: Services, token: Token, task_id: str) -> Task:
    """A task of the caller; UnknownTask for anybody else's."""
    task = await get_task(services, task_id)
    if (task.username, task.cluster) != (token.username, token.cluster):
        raise UnknownTask(f"there is no task {task_id!r}")
    return task


def _view(services: Services, task: Task) -> dict[str, Any]:
    """Everything about a task; of steps that run, or that never told their end, the output so far.

    A command's only step has the number 0.
    """
    steps = services.tasks.steps(task.id)
    parts = {step.number: step for step in steps if step.stdout is None}
    alone = task.kind == ActionKind.COMMAND and task.stderr is None
    if task.started_at is not None and (parts or alone):
        so_far = services.step_outputs.so_far(task.id, {*parts, 0})
        for number, (stdout, stderr) in so_far.items():
            if number:
                parts[number].stdout, parts[number].stderr = stdout, stderr
            else:
                task.output, task.stderr = stdout, stderr
    told = WebhookStore(services.database).get(task.id) if task.notify is not None else None
    return task_json(task, steps, told)


def _cancel(services: Services, task_id: str) -> None:
    """End a queued task, mark a running one; then say so. The record holds without the word."""
    tasks, herald = services.tasks, services.publisher
    try:
        if tasks.end(task_id, State.CANCELLED, when=State.QUEUED, error=never_ran()):
            herald.ended({task_id: None})
        elif tasks.request_cancel(task_id):
            herald.cancel(task_id)
    except QueueUnavailable:
        log.warning("nobody was told that task %s is cancelled: Redis is away", task_id)


def never_ran() -> dict[str, Any] | None:
    """The error of a task that was cancelled while it was queued."""
    fault = TaskCancelled("the task was cancelled before it began", ended=True)
    return ActionOutcome(error=fault).error_json()
