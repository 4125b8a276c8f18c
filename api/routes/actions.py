"""Describe actions (GET) and run them (POST). One route serves all actions of the catalog."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, get_args

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from api.auth.dependencies import ServicesDep, bearer_of, logged_in, token_of
from api.auth.login import run_login_operation
from api.http.body import read_options
from api.http.preferences import read_preferences
from api.http.request_context import Caller, RequestContext, context_of
from api.http.responses import shared_headers, task_response
from api.http.root_path import root_path_of
from api.routes.service_models import OperatorList
from api.state.services import Services, services_of
from api.state.turns import end_turn
from api.tasks.off_loop import off_loop
from api.tasks.run_action import dry_run_action, run_action
from api.tasks.secret_answers import reveal
from resop.actions.call import ActionCall
from resop.actions.catalog import Action
from resop.actions.operation import Operation
from resop.storage.models import State
from resop.types import KindCode

router = APIRouter()
runs = APIRouter()


@router.get(
    "/operators",
    tags=["operators"],
    dependencies=[Depends(logged_in)],
    responses={200: {"model": OperatorList}},
)
def operators(services: ServicesDep) -> dict[str, Any]:
    """List all operators with the names of their actions."""
    return {"operators": [each.summary() for each in services.catalog.operators.values()]}


@router.get("/{operator}", include_in_schema=False, dependencies=[Depends(logged_in)])
def operator_summary(operator: str, services: ServicesDep) -> dict[str, Any]:
    """Describe one operator."""
    return services.catalog.operator(operator).summary()


@router.get("/{operator}/commands", include_in_schema=False, dependencies=[Depends(logged_in)])
def commands(operator: str, services: ServicesDep, request: Request) -> dict[str, Any]:
    """List an operator's commands."""
    found = services.catalog.operator(operator)
    listed = [_line(each, request) for each in found.commands.values()]
    return {"operator": found.name, "commands": listed}


@router.get("/{operator}/operations", include_in_schema=False, dependencies=[Depends(logged_in)])
def operations(operator: str, services: ServicesDep, request: Request) -> dict[str, Any]:
    """List an operator's operations."""
    found = services.catalog.operator(operator)
    listed = [_line(each, request) for each in found.operations.values()]
    return {"operator": found.name, "operations": listed}


async def describe(
    kind: KindCode, operator: str, action: str, services: ServicesDep, request: Request
) -> dict[str, Any]:
    """Describe an action and its options; nothing runs on the cluster."""
    found = services.catalog.action(operator, kind, action)
    schema = found.options.model_json_schema()
    required = schema.get("required", [])
    description = {
        **_line(found, request),
        "options": {
            name: {**option, "required": name in required}
            for name, option in schema.get("properties", {}).items()
        },
        "examples": found.examples,
        "schema": schema,
        "timeout": found.timeout or services.settings.TASK_TIMEOUT,
        "share_for": found.share_for,
    }
    if not found.in_api:
        description["batch"] = f"{description['url']}/batch"
    if isinstance(found, Operation):
        description["returns"] = found.returns()
        description["dry_run"] = found.dry_run
    return description


async def run(kind: KindCode, request: Request) -> JSONResponse:
    """Run an action: answer with its result, or with 202 when the preferred wait is over."""
    services, context = services_of(request), context_of(request.scope)
    operator, name = request.path_params["operator"], request.path_params["action"]
    if login := services.catalog.api_operation(operator, kind, name):
        return await _run_login(services, context, login, request)
    caller = Caller(await token_of(services, context, request), context)
    action = services.catalog.action(operator, kind, name)
    context.action = action.title
    preferences = read_preferences(request, services.settings.SYNC_WAIT, services.webhook_hosts)
    options = await read_options(request, action.options)
    if preferences.dry_run:
        dry_run = await dry_run_action(services, caller, action, options, preferences)
        if dry_run.task is None:
            return JSONResponse(dry_run.shown)
        return task_response(dry_run.task, preferences.applied)
    done = await run_action(services, caller, action, options, preferences)
    task = done.task
    if isinstance(action, Operation) and action.returns_secret:
        task = await reveal(services, caller.token, task)
    headers = shared_headers(task, done.age, action.share_for)
    approval = None
    if task.state == State.PENDING_APPROVAL and task.approval:
        approval = await run_in_threadpool(services.storage.approvals.get, task.approval)
    return task_response(task, preferences.applied, headers, approval)


async def _run_login(
    services: Services, context: RequestContext, operation: Operation[..., Any], request: Request
) -> JSONResponse:
    """Run a login or a logout: these are not queued."""
    began = time.monotonic()
    context.action = operation.title
    options = await read_options(request, operation.options)
    call = await off_loop(partial(ActionCall.check, operation, options), options)
    if read_preferences(request, 0, services.webhook_hosts).dry_run:
        # Anybody may ask for one, so it has an audit entry, unlike the dry runs of others.
        context.options, context.dry_run = call.masked, True
        context.login_attempted(call.masked.get("username", ""), "")
        return JSONResponse({"success": True, "dry_run": True, "action": operation.title})
    end_turn()  # the cluster may take seconds
    authenticate = partial(token_of, services, context, request)
    bearer = await bearer_of(request)
    output = await run_login_operation(services, context, call, authenticate, bearer)
    return JSONResponse(
        {
            "success": True,
            "operation": operation.title,
            "output": output,
            "seconds": round(time.monotonic() - began, 4),
        }
    )


def _line(action: Action, request: Request) -> dict[str, Any]:
    return {
        "name": action.name,
        "action": action.title,
        "description": action.description,
        "url": root_path_of(request.scope) + action.path,
    }


# A plain route: each action's own model validates its options, and the OpenAPI document lists
# the actions one by one.
for _kind in get_args(KindCode):
    runs.add_route(f"/{{operator}}/{_kind}/{{action}}", partial(run, _kind), methods=["POST"])
    router.add_api_route(
        f"/{{operator}}/{_kind}/{{action}}",
        partial(describe, _kind),
        include_in_schema=False,
        dependencies=[Depends(logged_in)],
    )
