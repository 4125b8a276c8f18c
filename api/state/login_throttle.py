"""Limit failed logins, before the cluster bans the whole service because of one user.

OpenSSH 9.8 and later penalises source addresses, and all users of this service share one.
Failures are counted in Redis by user and client address, for all API processes together.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import redis.asyncio

from resop.errors import (
    IdentityUnknown,
    LoginRefused,
    OtpRequired,
    PasswordExpired,
    QueueUnavailable,
    TooManyAttempts,
)

MAX_FAILURES = 5
FAILURE_PERIOD_SECONDS = 60
"""Failures are forgotten this long after the first one."""
LOGIN_ATTEMPT_SECONDS = 120
"""Longer than any login takes: after this, the attempts of a process that died do not count."""
THROTTLE_POLL_SECONDS = 0.1


class LoginThrottle:
    """Counts the failed and the current logins of one user from one address."""

    def __init__(self, client: redis.asyncio.Redis, username: str, cluster: str, address: str):
        self._redis = client
        self._key = f"resop:login:{cluster}:{username}:{address}"
        self._attempts = f"{self._key}:attempts"

    @contextlib.asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """Surround one login at the cluster; a refused login counts as a failure.

        At most as many logins run at once as may still fail; others wait for those. Raises
        TooManyAttempts, which says how long to wait, after too many failures.
        """
        while True:
            if await self._enter():
                break
            await asyncio.sleep(THROTTLE_POLL_SECONDS * random.uniform(0.5, 1.5))
        failed = False
        try:
            yield
        except (LoginRefused, OtpRequired, PasswordExpired, IdentityUnknown):
            # Also an account that cannot be confirmed: sshd saw a failed login of another name.
            failed = True
            raise
        finally:
            await self._leave(failed)

    async def _enter(self) -> bool:
        async with self._pipeline() as pipeline:
            pipeline.incr(self._attempts)
            pipeline.expire(self._attempts, LOGIN_ATTEMPT_SECONDS, nx=True)
            pipeline.get(self._key)
            pipeline.ttl(self._key)
            attempts, _, failures, seconds_left = await pipeline.execute()
        if attempts + int(failures or 0) <= MAX_FAILURES:
            return True
        await self._leave(False)
        if int(failures or 0) >= MAX_FAILURES:
            raise TooManyAttempts(max(1, seconds_left))
        return False

    async def _leave(self, failed: bool) -> None:
        async with self._pipeline() as pipeline:
            # In one transaction, so that no other login is counted in between.
            pipeline.decr(self._attempts)
            pipeline.expire(self._attempts, LOGIN_ATTEMPT_SECONDS, nx=True)
            if failed:
                pipeline.incr(self._key)
                pipeline.expire(self._key, FAILURE_PERIOD_SECONDS, nx=True)
            await pipeline.execute()

    @contextlib.asynccontextmanager
    async def _pipeline(self) -> AsyncIterator[Any]:
        try:
            async with self._redis.pipeline(transaction=True) as pipeline:
                yield pipeline
        except (redis.RedisError, OSError) as fault:
            raise QueueUnavailable(
                "Redis is unavailable, so logins are not possible: try again later"
            ) from fault
