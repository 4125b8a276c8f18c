"""Stops a user's wrong passwords before the cluster bans the whole service for them.

OpenSSH 9.8 and later penalises by source address, and all our users share ours. Failures are
counted in Redis by user and client address, for all API processes together.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import redis.asyncio

from resop.errors import (
    LoginRefused,
    OtpRequired,
    PasswordExpired,
    QueueUnavailable,
    TooManyAttempts,
)

FAILURES = 5
PERIOD_SECONDS = 60
TRYING_SECONDS = 120
"""Longer than any login takes: what a process that died was trying counts no longer than this."""
PAUSE_SECONDS = 0.1


class LoginThrottle:
    """Counts the logins of one user from one address: those that failed, and those under way."""

    def __init__(self, client: redis.asyncio.Redis, username: str, cluster: str, address: str):
        self._redis = client
        self._key = f"resop:login:{cluster}:{username}:{address}"
        self._trying = f"{self._key}:trying"

    @contextlib.asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """Inside of it the cluster is asked; a login that it refuses is a failure.

        Raises TooManyAttempts, which says how long to wait, after too many failures. As many at
        once as may still fail; others wait for what becomes of those.
        """
        while True:
            if await self._enter():
                break
            await asyncio.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
        failed = False
        try:
            yield
        except (LoginRefused, OtpRequired, PasswordExpired):
            failed = True
            raise
        finally:
            await self._leave(failed)

    async def _enter(self) -> bool:
        async with self._pipeline() as pipeline:
            pipeline.incr(self._trying)
            pipeline.expire(self._trying, TRYING_SECONDS, nx=True)
            pipeline.get(self._key)
            pipeline.ttl(self._key)
            trying, _, failures, left = await pipeline.execute()
        if trying + int(failures or 0) <= FAILURES:
            return True
        await self._leave(False)
        if int(failures or 0) >= FAILURES:
            raise TooManyAttempts(max(1, left))
        return False

    async def _leave(self, failed: bool) -> None:
        async with self._pipeline() as pipeline:
            # Both in one step: nobody gets in between the two.
            pipeline.decr(self._trying)
            pipeline.expire(self._trying, TRYING_SECONDS, nx=True)
            if failed:
                pipeline.incr(self._key)
                pipeline.expire(self._key, PERIOD_SECONDS, nx=True)
            await pipeline.execute()

    @contextlib.asynccontextmanager
    async def _pipeline(self) -> AsyncIterator[Any]:
        try:
            async with self._redis.pipeline(transaction=True) as pipeline:
                yield pipeline
        except (redis.RedisError, OSError) as fault:
            raise QueueUnavailable("logins wait for Redis to be back") from fault
