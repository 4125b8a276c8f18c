"""Actions: described by GET, run by POST. One route serves all of them, from the catalog."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, get_args

import uuid_utils
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from starlette.concurrency import run_in_threadpool

from api.answers import answer
from api.body import read_options
from api.deps import Here, logged_in, login_of
from api.gate import ApiGate
from api.idempotency import earlier_task, read_key
from api.preferences import Preferences, read_preferences
from api.services import Services, services_of
from api.waiting import wait_for_end
from resop.catalog import Action, Kind
from resop.command import Command
from resop.errors import InvalidOptions, QueueUnavailable
from resop.masking import Masker, plain, secrets_in
from resop.operation import Operation
from resop.options import check_options, given_values
from resop.perform import command_step
from resop.preview import first_step
from resop.records import Key, State, Task
from resop.site import Site
from resop.tokens import Token

router = APIRouter()


@router.get("/operators", tags=["operators"], dependencies=[Depends(logged_in)])
def operators(services: Here) -> dict[str, Any]:
    """What there is, in one line each."""
    return {"operators": [each.summary() for each in services.catalog.operators.values()]}


@router.get("/{operator}", include_in_schema=False, dependencies=[Depends(logged_in)])
def operator_summary(operator: str, services: Here) -> dict[str, Any]:
    """One operator."""
    return services.catalog.operator(operator).summary()


@router.get("/{operator}/commands", include_in_schema=False, dependencies=[Depends(logged_in)])
def commands(operator: str, services: Here) -> dict[str, Any]:
    """An operator's commands."""
    found = services.catalog.operator(operator)
    return {"operator": found.name, "commands": [_line(each) for each in found.commands.values()]}


@router.get("/{operator}/operations", include_in_schema=False, dependencies=[Depends(logged_in)])
def operations(operator: str, services: Here) -> dict[str, Any]:
    """An operator's operations."""
    found = services.catalog.operator(operator)
    listed = [_line(each) for each in found.operations.values()]
    return {"operator": found.name, "operations": listed}


async def describe(kind: Kind, operator: str, action: str, services: Here) -> dict[str, Any]:
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
    }
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
    preferred = read_preferences(request, services.settings.SYNC_WAIT)
    options = check_options(found.options, await read_options(request, found.options))
    task = _new_task(found, options, token, services, preferred)
    task.request = request.state.request_id
    key = await read_key(request, services, task, options)
    first: dict[str, Any] = {}
    if isinstance(found, Operation) and found.preview:
        first = await run_in_threadpool(_first_step, found, options, token, services)
    if preferred.dry_run:
        return JSONResponse(_dry(task, first))
    with services.waiters.waiting(task.id) as waiter:
        # Who waits is promised nothing yet, and a worker's claim flushes the task with it.
        flushed = preferred.wait == 0
        earlier = await run_in_threadpool(
            _record_and_enqueue, services, task, key, token.worker, flushed=flushed
        )
        deadline = time.monotonic() + preferred.wait
        if key is not None and earlier is not None:
            ended = await earlier_task(services, earlier, key.digest, deadline)
        else:
            ended = await wait_for_end(services, task, waiter, deadline)
    if (earlier or not flushed) and ended.state == State.QUEUED:
        await run_in_threadpool(services.records.flush_task, ended.id)
    return answer(ended, preferred.applied)


async def _run_here(
    operation: Operation[..., Any], request: Request, services: Services
) -> JSONResponse:
    """Logins are not queued: they run here, through the gate."""
    began = time.monotonic()
    options = check_options(operation.options, await read_options(request, operation.options))
    if read_preferences(request, 0).dry_run:
        return JSONResponse({"success": True, "dry_run": True, "action": operation.title})
    gate = ApiGate(services, request)
    output = await operation(gate, **operation.arguments(options))
    return JSONResponse(
        {
            "success": True,
            "operation": operation.title,
            "output": output,
            "seconds": round(time.monotonic() - began, 4),
        },
        headers={"Cache-Control": "no-store"},
    )


def _new_task(
    action: Action,
    options: BaseModel,
    token: Token,
    services: Services,
    preferred: Preferences,
) -> Task:
    values = given_values(options)
    masker = Masker(secrets_in(values))
    limit = action.timeout or services.settings.TASK_TIMEOUT
    command = None
    if isinstance(action, Command):
        # Made here as well, so that what no command line can carry is refused before the queue.
        command = masker.text(command_step(action, options).shown)
    task_id = str(uuid_utils.uuid7())
    revealed = to_jsonable_python(plain(values, reveal=True))
    return Task(
        id=task_id,
        kind=action.kind,
        operator=action.operator,
        action=action.name,
        username=token.username,
        cluster=token.cluster,
        credential=token.credential,
        options=masker.json(to_jsonable_python(plain(values, reveal=False))),
        tags=preferred.tag,
        sealed=services.sealer.seal({"options": revealed, "half": token.half}, task_id),
        time_limit=min(limit, preferred.timeout or limit),
        command=command,
    )


def _record_and_enqueue(
    services: Services, task: Task, key: Key | None, worker: str, *, flushed: bool
) -> Key | None:
    """Write the task, then hand it to a worker; if that fails, nothing is left to be run.

    Returns the key of an earlier request where this one only repeats it.
    """
    if earlier := services.records.add_task(task, flushed=flushed, key=key):
        return earlier
    try:
        services.queue.put(task.id, task.cluster, worker)
    except QueueUnavailable as fault:
        error = {**fault.as_json(), "undone": [], "needs_repair": []}
        if services.records.end(task.id, State.FAILED, when=State.QUEUED, error=error):
            if key is not None:
                services.records.forget_key(key.id)
            raise
        # A worker has it all the same: the message did arrive.
    return None


def _first_step(
    operation: Operation[..., Any], options: BaseModel, token: Token, services: Services
) -> dict[str, Any]:
    """How an operation begins; InvalidOptions for options that it refuses by itself."""
    masker = Masker(secrets_in(given_values(options)))
    site = Site(services.catalog, services.settings)
    try:
        step = first_step(operation, options, token.username, token.cluster, site)
    except InvalidOptions as fault:
        raise InvalidOptions(masker.json(fault.details["faults"])) from None
    if step is None:
        return {}
    masker.learn(step.secrets)
    given = step.input.decode("utf-8", "replace") if step.input is not None else None
    shown: dict[str, Any] = masker.json({"command": step.shown, "stdin": given})
    return shown


def _dry(task: Task, first: dict[str, Any]) -> dict[str, Any]:
    shown = {"success": True, "dry_run": True, "action": f"{task.operator}:{task.action}", **first}
    if task.command is not None:
        shown["command"] = task.command
    return {**shown, "options": task.options, "time_limit": task.time_limit}


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
    router.add_route(f"/{{operator}}/{_kind}/{{action}}", partial(run, _kind), methods=["POST"])
    router.add_api_route(
        f"/{{operator}}/{_kind}/{{action}}",
        partial(describe, _kind),
        include_in_schema=False,
        dependencies=[Depends(logged_in)],
    )
