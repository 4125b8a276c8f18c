"""Stops a user's wrong passwords before the cluster bans the whole service for them.

OpenSSH 9.8 and later penalises by source address, and all our users share ours. Failures are
counted in Redis by user and client address, for all API processes together.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator

import redis.asyncio

from resop.errors import QueueUnavailable, TooManyAttempts

FAILURES = 5
PERIOD_SECONDS = 60
PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 0.1


class Breaker:
    """Counts the failed logins of one user from one address."""

    def __init__(self, client: redis.asyncio.Redis, username: str, cluster: str, address: str):
        self._redis = client
        self._key = f"resop:login:{cluster}:{username}:{address}"
        self._under_way = f"{self._key}:under-way"

    @contextlib.asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """One login; it waits while those under way, would they all fail, leave no room for it.

        So a storm of them meets the same limit as one after the other.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not await self._enter():
            if time.monotonic() > deadline:
                raise TooManyAttempts(1)
            await asyncio.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
        try:
            yield
        finally:
            await self._leave()

    async def _enter(self) -> bool:
        """Count in, if there is room."""
        await self.check()
        try:
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.incr(self._under_way)
                pipeline.expire(self._under_way, PERIOD_SECONDS)
                pipeline.get(self._key)
                under_way, _, failures = await pipeline.execute()
        except (redis.RedisError, OSError) as fault:
            raise QueueUnavailable("logins wait for Redis to be back") from fault
        room = int(under_way) + int(failures or 0) <= FAILURES
        if not room:
            await self._leave()
        return room

    async def _leave(self) -> None:
        # What is not counted out is forgotten within a minute.
        with contextlib.suppress(redis.RedisError, OSError):
            await self._redis.decr(self._under_way)

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
