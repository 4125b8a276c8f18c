"""Show the secrets of an answer, such as a generated password: once, to the login that asked.

Everywhere else they are masked. They are stored with the task, encrypted for its login, until they
have been shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool

from api.state.services import Services
from resop.errors import TokenRefused
from resop.security.masking import with_secrets
from resop.security.tokens import Token
from resop.storage.models import State, Task


async def reveal(services: Services, token: Token, task: Task) -> Task:
    """Return the task with its secrets if it has any that were not shown yet."""
    return (await run_in_threadpool(reveal_all, services, token, [task]))[0]


def reveal_all(services: Services, token: Token, tasks: Sequence[Task]) -> list[Task]:
    """Return these tasks with their secrets, as `reveal`. Blocks."""
    secrets = dict(_secrets(services, token, tasks))
    taken = services.storage.tasks.take_secrets(secrets) if secrets else set()
    return [
        task.model_copy(update={"output": with_secrets(task.output, secrets[task.id])})
        if task.id in taken
        else task
        for task in tasks
    ]


def _secrets(
    services: Services, token: Token, tasks: Iterable[Task]
) -> Iterable[tuple[str, list[tuple[list[str | int], str]]]]:
    """Yield the id and the secrets of each task of this login that still has some."""
    for task in tasks:
        if task.state != State.SUCCEEDED or not task.encrypted_payload:
            continue
        try:
            content: dict[str, Any] = services.access.encryptor.decrypt_answer(
                task.encrypted_payload, task.id, token.key_share
            )
        except TokenRefused:
            continue  # another login of this user
        yield task.id, content["secrets"]
