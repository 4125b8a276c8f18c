"""Waits for the end of a task by word of the workers, never by asking again and again."""

from __future__ import annotations

import asyncio
import time

from starlette.concurrency import run_in_threadpool

from api.state.answer_cache import SharedAnswer
from api.state.services import Services
from api.state.task_waiters import CompletionWaiter
from resop.errors import UnknownTask
from resop.storage.models import State, Task


async def wait_for_end(
    services: Services, task: Task, waiter: CompletionWaiter, deadline: float
) -> Task:
    """Return the task when it has ended, or as it stands at `deadline` (time.monotonic).

    `waiter` was taken before the task could end.
    """
    while not State(task.state).ended and (left := deadline - time.monotonic()) > 0:
        await waiter.wait(left)
        if waiter.result is not None:
            return task.model_copy(update=waiter.result)
        task = await get_task(services, task.id)
    return task


async def get_task(services: Services, task_id: str) -> Task:
    """The task as the record has it."""
    task = await run_in_threadpool(services.tasks.get, task_id)
    if task is None:
        raise UnknownTask(f"there is no task {task_id!r}")
    return task


async def wait_for_shared(
    services: Services, question: SharedAnswer, deadline: float
) -> Task | None:
    """The task of those who have asked the same; None where it has no answer to share.

    `deadline` as above.
    """
    with services.waiters.waiting(question.task.id) as waiter:
        if not await asyncio.shield(question.queued):
            return None
        task, answered = question.task, question.ended_at is not None
        if answered and not State(task.state).ended:
            task = await get_task(services, task.id)  # its result was too long for the word
        task = await wait_for_end(services, task, waiter, deadline)
    if task.state == State.QUEUED:
        await run_in_threadpool(services.tasks.make_durable, task.id)
    # An error is for those who waited for it, and none of theirs that somebody cancelled.
    if task.state in (State.CANCELLED, State.LOST) or (answered and task.state != State.SUCCEEDED):
        services.answers.forget(question)
        return None
    return task
