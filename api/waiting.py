"""Waits for the end of a task by word of the workers, never by asking again and again."""

from __future__ import annotations

import time

from starlette.concurrency import run_in_threadpool

from api.services import Services
from resop.errors import UnknownTask
from resop.events import Waiter
from resop.records import State, Task


async def wait_for_end(services: Services, task: Task, waiter: Waiter, deadline: float) -> Task:
    """Return the task when it has ended, or as it stands at `deadline` (time.monotonic).

    `waiter` was taken before the task could end.
    """
    while not State(task.state).ended and (left := deadline - time.monotonic()) > 0:
        await waiter.wait(left)
        if waiter.result is not None:
            return task.model_copy(update=waiter.result)
        task = await look(services, task.id)
    return task


async def look(services: Services, task_id: str) -> Task:
    """The task as the record has it."""
    task = await run_in_threadpool(services.records.task, task_id)
    if task is None:
        raise UnknownTask(f"there is no task {task_id!r}")
    return task
