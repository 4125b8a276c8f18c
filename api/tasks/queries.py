"""Read the caller's tasks: one with all its details, or a page of the list."""

from __future__ import annotations

import time
from typing import Any

from starlette.concurrency import run_in_threadpool

from api.state.services import Services
from api.tasks.waiting import get_task, wait_for_end
from resop.errors import TaskRunning, UnknownTask
from resop.security.identity import Identity
from resop.security.tokens import Token
from resop.storage.models import Batch, State, Task
from resop.storage.serializers import audited_summary, task_json, task_summary
from resop.storage.task_search import TaskFilter
from resop.types import ActionKind

TASKS_PER_PAGE = 50


async def own_task(services: Services, token: Token, task_id: str) -> Task:
    """Return a task of the caller. Raises UnknownTask, also for another user's task.

    For an API key the tasks of actions outside of its scope do not exist either.
    """
    task = await get_task(services, task_id)
    if (task.username, task.cluster) != token.identity or not is_visible(token, task):
        raise UnknownTask(f"there is no task {task_id!r}")
    return task


async def task_to_repair(services: Services, token: Token, task_id: str) -> Task:
    """Return an ended task that the caller may repair: an own one, or an administrator any.

    Raises UnknownTask and TaskRunning.
    """
    task = await get_task(services, task_id)
    is_administrator = token.identity in services.settings.administrators()
    may = task.username == token.username or is_administrator
    if not (may and task.cluster == token.cluster and is_visible(token, task)):
        raise UnknownTask(f"there is no task {task_id!r}")
    if not State(task.state).ended:
        raise TaskRunning(f"the task {task_id} has not ended yet: wait for its end, or cancel it")
    return task


def is_visible(token: Token, work: Task | Batch) -> bool:
    """Return True if the caller's scope covers the action of a task or batch."""
    return token.scope is None or token.scope.covers(f"{work.operator}:{work.action}")


def visible_only(services: Services, token: Token, task_filter: TaskFilter) -> TaskFilter:
    """Return a filter that finds only tasks of actions that the caller's scope covers."""
    actions = services.access.permissions.visible_actions(token.scope)
    return task_filter if actions is None else task_filter.model_copy(update={"actions": actions})


async def awaited_task(services: Services, token: Token, task_id: str, wait: float = 0) -> Task:
    """Return a task of the caller when it has ended, or as it is after `wait` seconds."""
    with services.messaging.waiters.waiting(task_id) as waiter:
        task = await own_task(services, token, task_id)
        if wait and not State(task.state).ended:
            await wait_for_end(services, task, waiter, time.monotonic() + wait)
            task = await get_task(services, task_id)
    return task


async def task_details(services: Services, task: Task) -> dict[str, Any]:
    """Return everything about a task; steps without a recorded end show their output so far."""
    return await run_in_threadpool(_read_details, services, task)


def _read_details(services: Services, task: Task) -> dict[str, Any]:
    steps = services.storage.tasks.steps(task.id)
    open_steps = {step.number: step for step in steps if step.stdout is None}
    # A command's only step has the number 0 and no row.
    open_command = task.kind == ActionKind.COMMAND and task.stderr is None
    if task.started_at is not None and (open_steps or open_command):
        so_far = services.storage.step_outputs.so_far(task.id, {*open_steps, 0})
        for number, (stdout, stderr) in so_far.items():
            if number:
                open_steps[number].stdout, open_steps[number].stderr = stdout, stderr
            else:
                task.output, task.stderr = stdout, stderr
    delivery = services.storage.webhooks.get(task.id) if task.notify else None
    approval = services.storage.approvals.get(task.approval) if task.approval else None
    return task_json(task, steps, delivery, approval)


def task_page(
    services: Services,
    token: Token,
    task_filter: TaskFilter,
    *,
    limit: int = TASKS_PER_PAGE,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Return a page of the caller's tasks, newest first, and the cursor of the next. Blocks."""
    matching = visible_only(services, token, task_filter)
    page = services.storage.search.page(
        *token.identity, limit=limit, before=cursor, matching=matching
    )
    return {"tasks": [task_summary(task) for task in page.tasks], "next": page.next}


def audited_page(
    services: Services,
    owner: Identity,
    task_filter: TaskFilter,
    *,
    limit: int,
    cursor: str | None,
) -> dict[str, Any]:
    """Return a page of another user's tasks as an auditor may see them. Blocks."""
    page = services.storage.search.page(*owner, limit=limit, before=cursor, matching=task_filter)
    return {"tasks": [audited_summary(task) for task in page.tasks], "next": page.next}
