"""Actions: described by GET, run by POST. One route serves all of them, from the catalog."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, get_args

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic_core import to_jsonable_python
from starlette.concurrency import run_in_threadpool

from api.auth.dependencies import ServicesDep, logged_in, login_of
from api.auth.login import ApiLoginGateway
from api.http.body import read_options
from api.http.preferences import Preferences, read_preferences
from api.http.responses import task_response
from api.middleware.audit_trail import entry_of
from api.state import rate_limit
from api.state.services import Services, services_of
from api.tasks.factory import first_step_of, new_task, shown_dry
from api.tasks.idempotency import earlier_task, read_key, request_digest
from api.tasks.waiting import wait_for_end, wait_for_shared
from resop.actions.catalog import Action, Kind
from resop.actions.command import Command
from resop.actions.operation import Operation
from resop.actions.options import check_options, option_values
from resop.errors import QueueUnavailable
from resop.security.masking import Masker, plain, secrets_in
from resop.security.tokens import Token
from resop.storage.models import IdempotencyKey, RequestOutcome, State, Task
from resop.storage.tasks import NewTask

router = APIRouter()
runs = APIRouter()


@router.get("/operators", tags=["operators"], dependencies=[Depends(logged_in)])
def operators(services: ServicesDep) -> dict[str, Any]:
    """What there is, in one line each."""
    return {"operators": [each.summary() for each in services.catalog.operators.values()]}


@router.get("/{operator}", include_in_schema=False, dependencies=[Depends(logged_in)])
def operator_summary(operator: str, services: ServicesDep) -> dict[str, Any]:
    """One operator."""
    return services.catalog.operator(operator).summary()


@router.get("/{operator}/commands", include_in_schema=False, dependencies=[Depends(logged_in)])
def commands(operator: str, services: ServicesDep) -> dict[str, Any]:
    """An operator's commands."""
    found = services.catalog.operator(operator)
    return {"operator": found.name, "commands": [_line(each) for each in found.commands.values()]}


@router.get("/{operator}/operations", include_in_schema=False, dependencies=[Depends(logged_in)])
def operations(operator: str, services: ServicesDep) -> dict[str, Any]:
    """An operator's operations."""
    found = services.catalog.operator(operator)
    listed = [_line(each) for each in found.operations.values()]
    return {"operator": found.name, "operations": listed}


async def describe(kind: Kind, operator: str, action: str, services: ServicesDep) -> dict[str, Any]:
    """An action: what it does and which options it takes; the cluster is not asked."""
    found = services.catalog.action(operator, kind, action)
    schema = found.options.model_json_schema()
    required = schema.get("required", [])
    described = {
        **_line(found),
        "options": {
            name: {**option, "required": name in required}
            for name, option in schema.get("properties", {}).items()
        },
        "examples": found.examples,
        "schema": schema,
        "timeout": found.timeout or services.settings.TASK_TIMEOUT,
        "share_for": found.share_for,
    }
    if not (isinstance(found, Operation) and found.in_api):
        described["batch"] = f"{described['url']}/batch"
    if isinstance(found, Operation):
        described["returns"] = found.returns()
    return described


async def run(kind: Kind, request: Request) -> JSONResponse:
    """Validate, record, enqueue; answer with the result, or with 202 when the wait is over."""
    services = services_of(request)
    operator, action = request.path_params["operator"], request.path_params["action"]
    if here := services.catalog.api_operation(operator, kind, action):
        return await _run_here(here, request, services)
    token = await login_of(request, services)
    found = services.catalog.action(operator, kind, action)
    request.state.action = found.title
    decision = await services.permissions.decide(found.title, token.username, token.credential)
    decision.enforce()
    settings = services.settings
    preferred = read_preferences(request, settings.SYNC_WAIT, settings.notify_hosts)
    options = check_options(found.options, await read_options(request, found.options))
    task = new_task(found, options, token, services, preferred)
    task.request = request.state.request_id
    key = await read_key(request, services, task, option_values(options))
    first: dict[str, Any] = {}
    if isinstance(found, Operation) and found.preview:
        first = await run_in_threadpool(first_step_of, found, options, token, services)
    if preferred.dry_run:
        request.state.audited = True  # nothing was done
        shown = {"success": True, "dry_run": True, "action": found.title}
        return JSONResponse({**shown, **shown_dry(task, first), "time_limit": task.time_limit})
    request.state.options = task.options
    await rate_limit.count(services.redis, decision, token)
    if found.share_for and key is None and preferred.may_share:
        digest = request_digest(services.encryptor, task, option_values(options))
        return await _ask(request, token, digest, task, found.share_for, preferred)
    return task_response(await _run_task(request, token, task, preferred, key), preferred.applied)


async def _run_task(
    request: Request,
    token: Token,
    task: Task,
    preferred: Preferences,
    key: IdempotencyKey | None = None,
    putting: AbstractContextManager[None] = nullcontext(),  # noqa: B008
) -> Task:
    """Record and enqueue a task, or find the earlier one of its key; wait for its end."""
    services = services_of(request)
    with services.waiters.waiting(task.id) as waiter:
        # Who waits is promised nothing yet, and a worker's claim flushes the task with it.
        durable = preferred.wait == 0
        with putting:
            earlier = await _take_in(request, task, key, token.worker, durable=durable)
        deadline = time.monotonic() + preferred.wait
        if key is not None and earlier is not None:
            ended = await earlier_task(services, earlier, key.digest, deadline)
        else:
            ended = await wait_for_end(services, task, waiter, deadline)
    if (earlier or not durable) and ended.state == State.QUEUED:
        await run_in_threadpool(services.tasks.make_durable, ended.id)
    return ended


async def _ask(
    request: Request,
    token: Token,
    digest: str,
    task: Task,
    share_for: float,
    preferred: Preferences,
) -> JSONResponse:
    """Answer a question with the task of who has just asked the same, or with one of its own."""
    services = services_of(request)
    deadline = time.monotonic() + preferred.wait
    oldest = 0.0 if preferred.fresh else preferred.max_age
    ended, age = None, 0.0
    while ended is None and (question := services.answers.find(digest, task, oldest)):
        age = question.age
        ended = await wait_for_shared(services, question, deadline)
    if ended is None:
        putting, age = services.answers.publishing(digest, task, share_for), 0.0
        ended = await _run_task(request, token, task, preferred, putting=putting)
    response = task_response(ended, preferred.applied)
    if ended.state == State.SUCCEEDED:
        response.headers["Age"] = str(int(age))
        response.headers["Cache-Control"] = f"private, max-age={int(share_for)}"
    return response


async def _run_here(
    operation: Operation[..., Any], request: Request, services: Services
) -> JSONResponse:
    """Logins are not queued: they run here, through the gate."""
    began = time.monotonic()
    request.state.action = operation.title
    options = check_options(operation.options, await read_options(request, operation.options))
    values = option_values(options)
    shown = to_jsonable_python(plain(values, reveal=False))
    request.state.options = Masker(secrets_in(values)).json(shown)
    if read_preferences(request, 0, services.settings.notify_hosts).dry_run:
        request.state.audited = True
        return JSONResponse({"success": True, "dry_run": True, "action": operation.title})
    gate = ApiLoginGateway(services, request)
    output = await operation(gate, **operation.arguments(options))
    return JSONResponse(
        {
            "success": True,
            "operation": operation.title,
            "output": output,
            "seconds": round(time.monotonic() - began, 4),
        }
    )


async def _take_in(
    request: Request, task: Task, key: IdempotencyKey | None, worker: str, *, durable: bool
) -> IdempotencyKey | None:
    """Write the task and its entry of the audit, and hand it to a worker: as `Intake.add`."""
    audit = entry_of(request.scope, outcome=RequestOutcome.ACCEPTED, status=202, task=task.id)
    intake = services_of(request).submitter
    try:
        earlier = await intake.add(NewTask(task, key, audit), worker, durable=durable)
    except QueueUnavailable:
        request.state.audited = True
        raise
    if earlier is None:
        request.state.audited = True
    return earlier


def _line(action: Action) -> dict[str, Any]:
    kind: Kind = "cmd" if isinstance(action, Command) else "opn"
    return {
        "name": action.name,
        "action": action.title,
        "description": action.description,
        "url": f"/{action.operator}/{kind}/{action.name}",
    }


# A plain route: what FastAPI would check is checked against the action's own model, and the
# OpenAPI document lists the actions one by one.
for _kind in get_args(Kind):
    runs.add_route(f"/{{operator}}/{_kind}/{{action}}", partial(run, _kind), methods=["POST"])
    router.add_api_route(
        f"/{{operator}}/{_kind}/{{action}}",
        partial(describe, _kind),
        include_in_schema=False,
        dependencies=[Depends(logged_in)],
    )
