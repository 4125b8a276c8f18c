"""Show one task of the caller, wait for its end, cancel it, or undo what it has left."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from api.auth.auditors import is_auditor
from api.auth.dependencies import CurrentCaller, ServicesDep, WritingToken
from api.http.preferences import read_preferences
from api.http.responses import retry_headers, task_response
from api.routes.open_request import COUNTED_WAIT, Wait
from api.routes.task_models import ActionResult
from api.routes.task_models import Task as TaskDetails
from api.tasks.cancellation import request_task_cancellation
from api.tasks.queries import awaited_task, own_task, task_details, task_to_repair
from api.tasks.run_action import dry_run_action, run_action
from api.tasks.secret_answers import reveal
from api.tasks.waiting import get_task
from resop.security.identity import Identity
from resop.storage.models import State
from resop.storage.serializers import audited_summary, result_json

router = APIRouter(prefix="/tasks", tags=["tasks"])

REPAIR_ACTION = ("core", "repair")
REPAIR_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": ActionResult},
    202: {
        "model": TaskDetails,
        "description": "The repair has not ended yet; ask for it at `Location`.",
    },
    409: {"description": "The task, or another repair of it, has not ended yet."},
    424: {"description": "Not all could be undone; `needs_repair` lists what remains."},
}


@router.get("/{task_id}", dependencies=[COUNTED_WAIT], responses={200: {"model": TaskDetails}})
async def show_task(
    task_id: str, services: ServicesDep, caller: CurrentCaller, wait: Wait = 0
) -> dict[str, Any]:
    """Show a task in any state: options, steps, log, times, and its output or error.

    Auditors see other users' tasks as well, without output, steps and log.
    """
    token = caller.token
    if is_auditor(services, caller):
        task = await get_task(services, task_id)
        owner = Identity(task.username, task.cluster)
        if owner != token.identity:
            caller.context.options = {"user": str(owner)}
            return audited_summary(task.model_dump())
    return await task_details(services, await awaited_task(services, token, task_id, wait))


@router.post("/{task_id}/secrets", responses={200: {"model": ActionResult}})
async def show_secrets(task_id: str, services: ServicesDep, token: WritingToken) -> dict[str, Any]:
    """Show the result of a task with the secrets of its output, such as a generated password.

    Once only, and only to the login that ran the task; after that they are masked here, too. A
    request that waited for the task has shown them already.
    """
    task = await own_task(services, token, task_id)
    shown = result_json(await reveal(services, token, task))
    return {"success": task.state == State.SUCCEEDED, **shown}


@router.delete(
    "/{task_id}",
    dependencies=[COUNTED_WAIT],
    responses={
        200: {"model": TaskDetails},
        202: {
            "model": TaskDetails,
            "description": "The cancellation was requested; the task is still running.",
        },
    },
)
async def cancel_task(
    task_id: str,
    services: ServicesDep,
    token: WritingToken,
    response: Response,
    wait: Wait = 0,
) -> dict[str, Any]:
    """Cancel a task: a queued task never runs, a running one is ended on the cluster.

    Answers 200 with the task if it has ended (also if it had ended before), 202 while it is
    still running. The task's error then says whether its step was confirmed to have ended, and
    what was undone.
    """
    task = await own_task(services, token, task_id)
    if not State(task.state).ended:
        await run_in_threadpool(request_task_cancellation, services, task_id)
        task = await awaited_task(services, token, task_id, wait)
    if not State(task.state).ended:
        response.status_code = 202
        response.headers.update(retry_headers(task_id))
    return await task_details(services, task)


@router.post("/{task_id}/repair", responses=REPAIR_RESPONSES)
async def repair_task(
    task_id: str, services: ServicesDep, caller: CurrentCaller, request: Request
) -> JSONResponse:
    """Undo what an ended task has left: run the steps that its `needs_repair` lists.

    This is the operation `core:repair`, a task of its own with the same preferences. The steps move
    to its list: `repaired_by` of the ended task's error is its id, and what it cannot undo is in
    its own `needs_repair`. Repeating the request is safe. The task's user may do this, and the
    users in ADMINISTRATORS, if the policy allows them `core:repair`.
    """
    task = await task_to_repair(services, caller.token, task_id)
    preferences = read_preferences(request, services.settings.SYNC_WAIT, services.webhook_hosts)
    action = services.catalog.operation(*REPAIR_ACTION)
    options = {"task": task_id}
    if preferences.dry_run:
        dry_run = await dry_run_action(services, caller, action, options, preferences)
        left = (task.error or {}).get("repair", [])
        return JSONResponse({**dry_run.shown, "repair": left})
    done = await run_action(services, caller, action, options, preferences)
    return task_response(done.task, preferences.applied)
