"""Wait for the end of a task: woken by a message, or by polling without a subscription."""

from __future__ import annotations

import asyncio
import time

from starlette.concurrency import run_in_threadpool

from api.state.answer_cache import SharedAnswer
from api.state.services import Services
from api.state.task_waiters import CompletionWaiter
from api.state.turns import end_turn
from resop.errors import RecordsUnavailable, UnknownTask
from resop.storage.models import State, Task

TASK_POLL_SECONDS = 1.0
"""How often the database is read while this process has no subscription, or it is unavailable."""


async def wait_for_end(
    services: Services, task: Task, waiter: CompletionWaiter, deadline: float
) -> Task:
    """Return the task when it has ended, or as it was last seen at `deadline` (time.monotonic).

    `waiter` has to be registered before the task can end. An outage of the database does not end
    the wait: the task continues meanwhile, so that no client should be asked to repeat its request.
    """
    end_turn()
    is_current = True
    while not State(task.state).ended and (remaining := deadline - time.monotonic()) > 0:
        seconds = wait_seconds(services, remaining)
        await waiter.wait(seconds if is_current else min(seconds, TASK_POLL_SECONDS))
        if waiter.result is not None:
            return task.model_copy(update=waiter.result)
        try:
            task = await get_task(services, task.id)
        except RecordsUnavailable:
            is_current = False
        else:
            is_current = True
    return task


def wait_seconds(services: Services, remaining: float) -> float:
    """Return how long to wait for a message before reading the database, at most `remaining`."""
    return (
        remaining if services.messaging.subscriber.connected else min(remaining, TASK_POLL_SECONDS)
    )


async def get_task(services: Services, task_id: str) -> Task:
    """Return the task as it is in the database. Raises UnknownTask."""
    task = await run_in_threadpool(services.storage.tasks.get, task_id)
    if task is None:
        raise UnknownTask(f"there is no task {task_id!r}")
    return task


async def wait_for_shared(services: Services, answer: SharedAnswer, deadline: float) -> Task | None:
    """Return the task of an identical request; None if it has no answer to share.

    `deadline` is as for `wait_for_end`.
    """
    end_turn()
    with services.messaging.waiters.waiting(answer.task.id) as waiter:
        if not await asyncio.shield(answer.queued):
            return None
        task, answered = answer.task, answer.ended_at is not None
        if answered and not State(task.state).ended:
            task = await get_task(services, task.id)  # the result was too long for the message
        task = await wait_for_end(services, task, waiter, deadline)
    if task.state == State.QUEUED:
        await run_in_threadpool(services.storage.tasks.make_durable, task.id)
    # An error is shared only with requests that waited for it; a cancelled or lost task never.
    if task.state in (State.CANCELLED, State.LOST) or (answered and task.state != State.SUCCEEDED):
        services.messaging.answers.forget(answer)
        return None
    return task
