"""Stops a user's wrong passwords before the cluster bans the whole service for them.

OpenSSH 9.8 and later penalises by source address, and all our users share ours. Failures are
counted in Redis by user and client address, for all API processes together.
"""

from __future__ import annotations

import redis.asyncio

from resop.errors import QueueUnavailable, TooManyAttempts

FAILURES = 5
PERIOD_SECONDS = 60


class Breaker:
    """Counts the failed logins of one user from one address."""

    def __init__(self, client: redis.asyncio.Redis, username: str, cluster: str, address: str):
        self._redis = client
        self._key = f"resop:login:{cluster}:{username}:{address}"

    async def check(self) -> None:
        """Raise TooManyAttempts, which says how long to wait, after too many failures."""
        try:
            failures = int(await self._redis.get(self._key) or 0)
            if failures >= FAILURES:
                raise TooManyAttempts(max(1, await self._redis.ttl(self._key)))
        except (redis.RedisError, OSError) as fault:
            raise QueueUnavailable("logins wait for Redis to be back") from fault

    async def failed(self) -> None:
        """Count a failure."""
        try:
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.incr(self._key)
                pipeline.expire(self._key, PERIOD_SECONDS, nx=True)
                await pipeline.execute()
        except (redis.RedisError, OSError) as fault:
            raise QueueUnavailable("logins wait for Redis to be back") from fault
