"""Create the task of an action call, validated as far as possible before it is queued."""

from __future__ import annotations

from typing import Any

from api.http.preferences import Preferences
from api.http.request_context import Caller
from api.state.services import Services
from api.tasks.approval_request import ApprovalRequest
from resop.actions.call import ActionCall
from resop.actions.catalog import Action
from resop.actions.command import Command
from resop.actions.context import ServiceContext
from resop.actions.execute import command_step
from resop.actions.first_step import first_step
from resop.actions.operation import Operation
from resop.errors import InvalidOptions
from resop.security.tokens import Token
from resop.storage.ids import creation_time, new_id
from resop.storage.models import DRY_RUN, State, Task, now


def new_task(
    services: Services,
    caller: Caller,
    call: ActionCall,
    preferences: Preferences,
    approval: ApprovalRequest | None = None,
) -> Task:
    """Return the task of a call, not yet stored: that of a dry run, if the caller prefers one.

    It waits for `approval` if there is one.

    Raises InvalidOptions for options that no command line can carry.
    """
    token, action = caller.token, call.action
    limit = action.timeout or services.settings.TASK_TIMEOUT
    command = None
    if isinstance(action, Command):
        # Built here as well as in the worker, so that a command line that cannot be built is
        # refused before the queue.
        command = call.masker.text(command_step(action, call.options).display)
    task_id = new_id()
    is_dry_run = preferences.dry_run and action.dry_run
    task = Task(
        id=task_id,
        kind=DRY_RUN if is_dry_run else action.kind,
        operator=action.operator,
        action=action.name,
        username=token.username,
        cluster=token.cluster,
        credential=token.credential,
        request=caller.context.id,
        options=call.masked,
        tags=preferences.tag,
        notify=None if is_dry_run else preferences.notify,
        # Tasks are searched by the time in their id and shown with this one: both must agree.
        created_at=creation_time(task_id),
        time_limit=min(limit, preferences.timeout or limit),
        command=command,
        # Nobody waits for it, so its steps become durable, unless its session is held by a
        # worker: then no other worker could resume them.
        resume_count=0 if preferences.wait == 0 and not token.worker and not is_dry_run else None,
    )
    payload = _payload(call, token) | (approval.admit(task, call) if approval else {})
    task.encrypted_payload = services.access.encryptor.encrypt(payload, task_id)
    return task


def failed_task(
    caller: Caller, action: Action, preferences: Preferences, fault: InvalidOptions
) -> Task:
    """Return the task of invalid options, which has failed already, not yet stored."""
    token, task_id = caller.token, new_id()
    return Task(
        id=task_id,
        kind=action.kind,
        operator=action.operator,
        action=action.name,
        username=token.username,
        cluster=token.cluster,
        credential=token.credential,
        request=caller.context.id,
        state=State.FAILED,
        options={},
        tags=preferences.tag,
        created_at=creation_time(task_id),
        ended_at=now(),
        time_limit=0,
        error={**fault.as_json(), "retryable": False, "undone": [], "needs_repair": []},
    )


def _payload(call: ActionCall, token: Token) -> dict[str, Any]:
    """Return what only the worker that runs the task gets to know."""
    scope = {} if token.scope is None else {"scope": token.scope.as_json()}
    return {"options": call.values, "key_share": token.key_share, **scope}


def first_step_of(services: Services, token: Token, call: ActionCall) -> dict[str, Any]:
    """Return an operation's first step as `command` and `stdin`; empty if it sends none. Blocks.

    Raises InvalidOptions where the operation itself refuses its options.
    """
    assert isinstance(call.action, Operation)
    context = ServiceContext(services.catalog, services.settings)
    try:
        step = first_step(call.action, call.options, token.username, token.cluster, context)
    except InvalidOptions as fault:
        raise InvalidOptions(call.masker.json(fault.details["faults"])) from None
    if step is None:
        return {}
    call.masker.learn(step.secrets)
    stdin = step.input.decode("utf-8", "replace") if step.input is not None else None
    masked: dict[str, Any] = call.masker.json({"command": step.display, "stdin": stdin})
    return masked


def dry_run_json(task: Task, first_step: dict[str, Any]) -> dict[str, Any]:
    """Return what a task would run: its command line or an operation's first step, and options."""
    command = {} if task.command is None else {"command": task.command}
    return {**first_step, **command, "options": task.options}
