"""Enforce the policy's rates: tasks are counted in Redis, for all API processes together."""

from __future__ import annotations

import redis.asyncio

from resop.config.policy import Decision
from resop.errors import LimitReached, QueueUnavailable
from resop.security.encryption import Encryptor
from resop.security.tokens import Token

RATE_PERIOD_SECONDS = 60


async def count(
    client: redis.asyncio.Redis,
    encryptor: Encryptor,
    decision: Decision,
    token: Token,
    tasks: int = 1,
) -> None:
    """Count a user's tasks towards the policy rule that allows them.

    A reader of Redis learns neither user nor rule. A minute begins with its first task. Raises
    LimitReached, which says how long to wait, and QueueUnavailable without Redis, which would have
    to carry the tasks as well.
    """
    if decision.rate is None:
        return
    owner = encryptor.digest("rate", decision.place, *token.identity)
    key = f"resop:rate:{owner}"
    try:
        async with client.pipeline(transaction=True) as pipeline:
            pipeline.incrby(key, tasks)
            pipeline.expire(key, RATE_PERIOD_SECONDS, nx=True)
            pipeline.ttl(key)
            counted, _, seconds_left = await pipeline.execute()
    except (redis.RedisError, OSError) as fault:
        raise QueueUnavailable(
            "Redis is unavailable, so rate-limited actions cannot be started: try again later"
        ) from fault
    if counted > decision.rate:
        retry_after = max(1, seconds_left)
        raise LimitReached(
            f"{decision.place}: the limit is {decision.rate} a minute; try again in "
            f"{retry_after} s",
            retry_after=retry_after,
            rule=decision.place,
        )
