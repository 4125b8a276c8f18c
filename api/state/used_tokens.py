"""Remember which ID tokens were used to log in: each is good for one login."""

from __future__ import annotations

import contextlib
import math
import secrets
from collections.abc import AsyncIterator

import redis
import redis.asyncio

from api.state.openid import VerifiedToken
from resop.clock import unix_time
from resop.errors import ClusterError, LoginRefused, QueueUnavailable


class UsedTokens:
    """The used tokens of all API processes, in Redis until they expire."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client

    @contextlib.asynccontextmanager
    async def use(self, token: VerifiedToken) -> AsyncIterator[None]:
        """Surround the one login of a token; if the cluster fails, the token is good again.

        Raises LoginRefused if the token was used before, and QueueUnavailable without Redis.
        """
        key = f"resop:used-token:{token.fingerprint}"
        seconds = max(1, math.ceil(token.acceptable_until - unix_time()))
        if not await self._set(key, seconds):
            raise LoginRefused("this token was already used to log in: get a new one")
        try:
            yield
        except ClusterError:
            with contextlib.suppress(redis.RedisError, OSError):
                await self._redis.delete(key)
            raise

    async def _set(self, key: str, seconds: int) -> bool:
        """Return True if this login is the first to set the key."""
        login = secrets.token_bytes(8)
        try:
            if await self._redis.set(key, login, nx=True, ex=seconds):
                return True
            # A command that is sent again after a lost connection finds what it has set itself.
            return bool(await self._redis.get(key) == login)
        except (redis.RedisError, OSError) as fault:
            raise QueueUnavailable(
                "Redis is unavailable, so logins are not possible: try again later"
            ) from fault
