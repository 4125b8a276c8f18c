"""Find the task of an earlier request with the same `Idempotency-Key`.

The database holds digests only, made with a key that it does not hold: a request may contain
secrets.
"""

from __future__ import annotations

from collections.abc import Callable

from api.state.services import Services
from api.tasks.waiting import get_task, wait_for_end
from resop.errors import IdempotencyKeyReused
from resop.security.encryption import Encryptor
from resop.storage.models import Batch, IdempotencyKey, Task


def idempotency_key(
    services: Services,
    key: str,
    target: Task | Batch,
    content_digest: Callable[[Encryptor], str],
) -> IdempotencyKey:
    """Return the row that links a client's key to the task or batch of its request. Blocks.

    Users cannot collide with keys of other users. `content_digest` distinguishes a repeated
    request from another one with the same key.
    """

    def row(encryptor: Encryptor) -> IdempotencyKey:
        return IdempotencyKey(
            id=encryptor.digest(target.username, target.cluster, key),
            digest=content_digest(encryptor),
            task=target.id,
        )

    if previous := services.access.encryptor.previous:
        earlier = row(previous)
        if services.storage.idempotency_keys.get(earlier.id):
            return earlier  # first used before SECRET_KEY was changed
    return row(services.access.encryptor)


def check_same_request(earlier: IdempotencyKey, key: IdempotencyKey) -> None:
    """Raise IdempotencyKeyReused if an earlier request with this key was a different one."""
    if earlier.digest != key.digest:
        raise IdempotencyKeyReused


async def earlier_task(
    services: Services, earlier: IdempotencyKey, key: IdempotencyKey, deadline: float
) -> Task:
    """Return the task of the earlier request once it has ended, or as it is at `deadline`.

    `deadline` is as for `wait_for_end`. Raises IdempotencyKeyReused if the requests differ.
    """
    check_same_request(earlier, key)
    with services.messaging.waiters.waiting(earlier.task) as waiter:
        task = await get_task(services, earlier.task)
        return await wait_for_end(services, task, waiter, deadline)
