"""Tell whether the parts that this process depends on take what it would write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import redis.asyncio
from starlette.concurrency import run_in_threadpool

from api.state.redis_readiness import redis_fault
from api.state.subscription import Subscription
from resop.errors import RecordsUnavailable
from resop.storage.database import Database

PROBE_SECONDS = 2.0
"""How long a part may take to answer."""


class ReadinessProbe:
    """The readiness of one API process. Requests that ask at the same time share the answer."""

    def __init__(
        self, database: Database, client: redis.asyncio.Redis, subscription: Subscription
    ) -> None:
        self._database = database
        self._redis = client
        self._subscription = subscription
        self._probes: dict[str, asyncio.Task[str | None]] = {}

    async def faults(self) -> dict[str, str | None]:
        """Return for each part why it cannot serve now, or None if it can."""
        database, redis = await asyncio.gather(
            self._probe("database", self._database_fault),
            self._probe("redis", partial(redis_fault, self._redis)),
        )
        return {
            "database": database,
            "redis": redis,
            "subscription": None if self._subscription.connected else "not subscribed to Redis",
        }

    async def _probe(
        self, name: str, check: Callable[[], Coroutine[Any, Any, str | None]]
    ) -> str | None:
        """Return the answer of the probe that runs, or of a new one; a fault if it is late.

        A database that is locked holds up one thread then, however many ask.
        """
        if name not in self._probes or self._probes[name].done():
            self._probes[name] = asyncio.create_task(check())
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await asyncio.shield(self._probes[name])
        except TimeoutError:
            return f"no answer within {PROBE_SECONDS:g} s"

    async def _database_fault(self) -> str | None:
        try:
            await run_in_threadpool(self._database.check)
        except RecordsUnavailable as fault:
            return fault.message
        return None
