"""`Idempotency-Key`: a request that is repeated finds the task that it made the first time.

Only digests are kept, made with a key that the database does not hold: a request may hold secrets.
"""

from __future__ import annotations

import json
import re
from typing import Any

from fastapi import Request
from pydantic_core import to_jsonable_python
from starlette.concurrency import run_in_threadpool

from api.state.services import Services
from api.tasks.waiting import get_task, wait_for_end
from resop.errors import IdempotencyKeyReused, InvalidOptions
from resop.security.masking import plain
from resop.security.sealing import Encryptor
from resop.storage.models import Batch, IdempotencyKey, Task

HEADER = "Idempotency-Key"
_GOOD_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")


async def read_key(
    request: Request, services: Services, made: Task | Batch, asked: Any
) -> IdempotencyKey | None:
    """The key of the request that makes this of what is `asked`, if it has one.

    Each user has keys of their own.
    """
    given = request.headers.get(HEADER)
    if given is None:
        return None
    if not _GOOD_KEY.fullmatch(given):
        message = "has 1 to 255 printable ASCII characters"
        raise InvalidOptions([{"field": HEADER, "message": message}])
    older = services.encryptor.previous
    if older is not None:
        first = _key(older, given, made, asked)
        if await run_in_threadpool(services.idempotency_keys.get, first.id):
            return first  # it was used before SECRET_KEY was changed
    return _key(services.encryptor, given, made, asked)


def _key(sealer: Encryptor, given: str, made: Task | Batch, asked: Any) -> IdempotencyKey:
    return IdempotencyKey(
        id=sealer.digest(made.username, made.cluster, given),
        digest=request_digest(sealer, made, asked),
        task=made.id,
    )


def request_digest(sealer: Encryptor, made: Task | Batch, asked: Any) -> str:
    """What the request that makes this asks for: the same for the same action and options."""
    text = json.dumps(to_jsonable_python(plain(asked, reveal=True)), sort_keys=True)
    return sealer.digest(made.kind, made.operator, made.action, text)


async def earlier_task(
    services: Services, earlier: IdempotencyKey, digest: str, deadline: float
) -> Task:
    """Return the task of an earlier request with this key, once it has ended.

    Raises IdempotencyKeyReused when `digest` shows that the request was another one.

    `deadline` as for `wait_for_end`.
    """
    if earlier.digest != digest:
        raise IdempotencyKeyReused
    with services.waiters.waiting(earlier.task) as waiter:
        task = await get_task(services, earlier.task)
        return await wait_for_end(services, task, waiter, deadline)
