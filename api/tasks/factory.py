"""Makes tasks of what requests ask for, checked as far as it can be before the queue."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from api.http.preferences import Preferences
from api.state.services import Services
from resop.actions.catalog import Action
from resop.actions.command import Command
from resop.actions.context import ServiceContext
from resop.actions.dry_run import first_step
from resop.actions.execute import command_step
from resop.actions.operation import Operation
from resop.actions.options import option_values
from resop.errors import InvalidOptions
from resop.security.masking import Masker, plain, secrets_in
from resop.security.tokens import Token
from resop.storage.ids import creation_time, new_id
from resop.storage.models import Task


def new_task(
    action: Action,
    options: BaseModel,
    token: Token,
    services: Services,
    preferred: Preferences,
) -> Task:
    """The task of a request; InvalidOptions for what no command line can carry."""
    values = option_values(options)
    masker = Masker(secrets_in(values))
    limit = action.timeout or services.settings.TASK_TIMEOUT
    command = None
    if isinstance(action, Command):
        # Made here as well, so that what no command line can carry is refused before the queue.
        command = masker.text(command_step(action, options).display)
    task_id = new_id()
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
        notify=preferred.notify,
        encrypted_payload=services.encryptor.encrypt(
            {"options": revealed, "half": token.key_share}, task_id
        ),
        # By the id a task is looked for, by this it is shown: they must say the same.
        created_at=creation_time(task_id),
        time_limit=min(limit, preferred.timeout or limit),
        command=command,
        # Nobody waits for it: its steps are to outlive their connection and their worker, unless
        # nobody else could go on with them.
        resume_count=0 if preferred.wait == 0 and not token.worker else None,
    )


def first_step_of(
    operation: Operation[..., Any], options: BaseModel, token: Token, services: Services
) -> dict[str, Any]:
    """How an operation begins; InvalidOptions for options that it refuses by itself."""
    masker = Masker(secrets_in(option_values(options)))
    site = ServiceContext(services.catalog, services.settings)
    try:
        step = first_step(operation, options, token.username, token.cluster, site)
    except InvalidOptions as fault:
        raise InvalidOptions(masker.json(fault.details["faults"])) from None
    if step is None:
        return {}
    masker.learn(step.secrets)
    given = step.input.decode("utf-8", "replace") if step.input is not None else None
    shown: dict[str, Any] = masker.json({"command": step.display, "stdin": given})
    return shown


def shown_dry(task: Task, first: dict[str, Any]) -> dict[str, Any]:
    """What would be run: the command line, or how an operation begins, and the options."""
    command = {} if task.command is None else {"command": task.command}
    return {**first, **command, "options": task.options}
