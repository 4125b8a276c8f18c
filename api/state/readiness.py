"""Tell whether the parts that this process depends on take what it would write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from api.state.subscription import Subscription
from resop.errors import RecordsUnavailable
from resop.storage.database import Database

PROBE_SECONDS = 2.0
"""How long a part may take to answer."""


class Readiness:
    """The readiness of one API process. Requests that ask at the same time share the answer."""

    def __init__(
        self, database: Database, client: redis.asyncio.Redis, subscription: Subscription
    ) -> None:
        self._database = database
        self._redis = client
        self._subscription = subscription
        self._probes: dict[str, asyncio.Task[bool]] = {}

    async def parts(self) -> dict[str, bool]:
        """Return for each part whether it can serve now."""
        database, redis = await asyncio.gather(
            self._probe("database", self._database_writes), self._probe("redis", self._redis_writes)
        )
        return {
            "database": database,
            "redis": redis,
            "subscription": self._subscription.connected,
        }

    async def _probe(self, name: str, check: Callable[[], Coroutine[Any, Any, bool]]) -> bool:
        """Return the answer of the probe that runs, or of a new one; False if it is late.

        A database that is locked holds up one thread then, however many ask.
        """
        if name not in self._probes or self._probes[name].done():
            self._probes[name] = asyncio.create_task(check())
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await asyncio.shield(self._probes[name])
        except TimeoutError:
            return False

    async def _database_writes(self) -> bool:
        try:
            await run_in_threadpool(self._database.check)
        except RecordsUnavailable:
            return False
        return True

    async def _redis_writes(self) -> bool:
        try:
            # Refused if Redis is a replica or its memory is full; otherwise nothing is written,
            # because there is no such key.
            await self._redis.set("resop:ready", "", xx=True, px=1)
        except (RedisError, OSError):  # TimeoutError is an OSError
            return False
        return True
