"""Holds users to the rates of the policy: counted in Redis, for all API processes together."""

from __future__ import annotations

import redis.asyncio

from resop.config.policy import Decision
from resop.errors import LimitReached, QueueUnavailable
from resop.security.tokens import Token

PERIOD_SECONDS = 60


async def count(
    client: redis.asyncio.Redis, decision: Decision, token: Token, tasks: int = 1
) -> None:
    """Count so many tasks of a user to the rule that allowed them; LimitReached says how long.

    A minute begins with the first of them. Without Redis, which has to carry the tasks as well,
    nothing is let through: QueueUnavailable.
    """
    if decision.rate is None:
        return
    key = f"resop:rate:{decision.place}:{token.cluster}:{token.username}"
    try:
        async with client.pipeline(transaction=True) as pipeline:
            pipeline.incrby(key, tasks)
            pipeline.expire(key, PERIOD_SECONDS, nx=True)
            pipeline.ttl(key)
            counted, _, left = await pipeline.execute()
    except (redis.RedisError, OSError) as fault:
        raise QueueUnavailable("actions with a rate wait for Redis to be back") from fault
    if counted > decision.rate:
        left = max(1, left)
        raise LimitReached(
            f"{decision.place}: {decision.rate} a minute are allowed; wait {left} s",
            retry_after=left,
            rule=decision.place,
        )
