"""The pages that ask before a task or a batch is cancelled, and cancel it."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from api.auth.dependencies import check_may_write
from api.pages.browser_session import caller_of
from api.pages.form_data import read_own_form
from api.pages.rendering import page, page_frame
from api.state.services import services_of
from api.tasks.batch_progress import batch_progress, own_batch
from api.tasks.cancellation import request_batch_cancellation, request_task_cancellation
from api.tasks.queries import own_task, task_details
from resop.storage.models import State


async def ask_about_task(request: Request) -> Response:
    """Return the page that says what becomes of a task that is cancelled; its own if it ended."""
    caller, services = await caller_of(request), services_of(request)
    task = await own_task(services, caller.token, request.path_params["task_id"])
    if State(task.state).ended:
        return _to_task(task.id)
    shown = await task_details(services, task)
    return await page("cancel_task.html", task=shown, **page_frame(request, caller.token))


async def cancel_task(request: Request) -> Response:
    """Cancel a task, unless it has ended, and show it."""
    caller, services = await caller_of(request), services_of(request)
    await read_own_form(request)
    check_may_write(caller.token)
    task = await own_task(services, caller.token, request.path_params["task_id"])
    if not State(task.state).ended:
        await run_in_threadpool(request_task_cancellation, services, task.id)
    return _to_task(task.id)


async def ask_about_batch(request: Request) -> Response:
    """Return the page that says what becomes of the tasks of a batch that is cancelled."""
    caller, services = await caller_of(request), services_of(request)
    batch_id = request.path_params["batch_id"]
    await own_batch(services, caller.token, batch_id)
    batch = await run_in_threadpool(batch_progress, services, batch_id)
    if batch["state"] == "ended":
        return _to_batch(batch_id)
    return await page("cancel_batch.html", batch=batch, **page_frame(request, caller.token))


async def cancel_batch(request: Request) -> Response:
    """Cancel the tasks of a batch that have not ended, and show the batch."""
    caller, services = await caller_of(request), services_of(request)
    await read_own_form(request)
    batch_id = request.path_params["batch_id"]
    check_may_write(caller.token)
    await own_batch(services, caller.token, batch_id)
    await run_in_threadpool(request_batch_cancellation, services, batch_id)
    return _to_batch(batch_id)


def _to_task(task_id: str) -> RedirectResponse:
    return RedirectResponse(f"/pages/tasks/{task_id}", 303)


def _to_batch(batch_id: str) -> RedirectResponse:
    return RedirectResponse(f"/pages/batches/{batch_id}", 303)
