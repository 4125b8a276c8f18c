"""Find out whether what other processes publish now still arrives at a subscription.

A connection may outlive the role of its server: after a failover, the name, the proxy or the
sentinels lead new connections to another server, while the old one continues to serve the
connections that it has. So a subscription publishes to itself now and then, each time over a new
connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time

import redis

from resop.messaging.redis_client import connect_once

PROBE_SECONDS = 5.0
"""The time between two probes; one that has not arrived after twice this time is lost."""


class SubscriptionProbe:
    """The probes of one subscription, which must subscribe to `channel`."""

    def __init__(self, url: str) -> None:
        self.channel = f"resop:probe.{secrets.token_hex(8)}"
        self._url = url
        self._due = time.monotonic() + PROBE_SECONDS
        self._sent: tuple[bytes, float] | None = None
        """The probe on its way, and when it was published."""
        self._sending: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Send a probe if it is time. Raises redis.ConnectionError if the last one is lost."""
        now = time.monotonic()
        if self._sent is not None and now > self._sent[1] + 2 * PROBE_SECONDS:
            raise redis.ConnectionError("what is published elsewhere does not arrive")
        if self._sent is None and self._sending is None and now >= self._due:
            self._due = now + PROBE_SECONDS
            self._sending = asyncio.create_task(self._send())

    def on_message(self, channel: str, data: bytes) -> None:
        """Note a probe that has arrived; anybody may publish anything on its channel."""
        if self._sent is not None and data == self._sent[0]:
            self._sent = None

    def stop(self) -> None:
        """Stop sending."""
        if self._sending is not None:
            self._sending.cancel()

    async def _send(self) -> None:
        """Publish a probe; if Redis does not take it, nothing is known about the subscription."""
        data = secrets.token_hex(8).encode()
        client = connect_once(self._url)
        try:
            self._sent = data, time.monotonic()
            await client.publish(self.channel, data)
        except (redis.RedisError, OSError):
            self._sent = None
        finally:
            self._sending = None
            with contextlib.suppress(redis.RedisError, OSError):
                await client.aclose()
