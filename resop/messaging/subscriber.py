"""Keep one Redis pub/sub subscription open for a process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import redis
import redis.asyncio

from resop.messaging.publisher import log

PAUSE_SECONDS = 0.5


class Subscriber:
    """The one subscription of a process: passes each word on to who is in charge of its channel.

    `None` is passed on when words may have been missed.
    """

    def __init__(self, url: str, hearers: Mapping[str, Hear]) -> None:
        self._url = url
        self._hearers = hearers
        self._task: asyncio.Task[None] | None = None
        self.connected = False

    async def start(self) -> None:
        """Begin to listen, and go on whatever happens to Redis."""
        self._task = asyncio.create_task(self._listen_forever())

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _listen_forever(self) -> None:
        while True:
            try:
                await self._listen()
            except (redis.RedisError, OSError) as fault:
                log.warning("not subscribed: %s", type(fault).__name__)
            self._missed(connected=False)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _listen(self) -> None:
        client = redis.asyncio.Redis.from_url(self._url, health_check_interval=10)
        try:
            async with client.pubsub() as subscription:
                await subscription.subscribe(*self._hearers)
                async for message in subscription.listen():
                    if message["type"] == "message":
                        self._hearers[message["channel"].decode()](message["data"].decode())
                    else:
                        self._missed(connected=True)
        finally:
            await client.aclose()

    def _missed(self, *, connected: bool) -> None:
        self.connected = connected
        for hear in self._hearers.values():
            hear(None)


Hear = Callable[[str | None], None]
