"""Keep one Redis pub/sub subscription open for a process, whatever happens to Redis."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import redis

from resop.messaging.messages import (
    MAX_MESSAGE_BYTES,
    M,
    MalformedMessage,
    Message,
    Resync,
    decode,
)
from resop.messaging.redis_client import connect_once
from resop.messaging.refusals import Refusals
from resop.messaging.subscription_probe import SubscriptionProbe
from resop.security.message_encryption import OVERHEAD_BYTES, MessageDecryptor, RefusedMessage

log = logging.getLogger(__name__)

PING_SECONDS = 5.0
"""A connection that is silent for this time is pinged; if it stays silent as long, it is lost."""
RECONNECT_SECONDS = 0.5
SETTLED_SECONDS = 15.0
"""After this, other processes that lost Redis at the same time have subscribed again, too."""
CANCEL_SECONDS = 0.5

_Callback = Callable[[Any], None]


class Subscriber:
    """The one subscription of a process: passes each message to the callbacks of its channel.

    A message that this service did not send, or sent before, is counted and does nothing. A
    malformed message is logged and skipped; a callback that raises is logged. `connected` is True
    only while no message is missed. All callbacks get a Resync when the subscription is lost, when
    an attempt to renew it fails, and when it is renewed.
    """

    def __init__(self, url: str, keys: Sequence[bytes]) -> None:
        """Set up; `keys` are `Encryptor.message_keys`."""
        self._url = url
        self._decryptor = MessageDecryptor(keys)
        self.refusals = Refusals()
        self._callbacks: defaultdict[str, list[tuple[type[Message], _Callback]]] = defaultdict(list)
        self._task: asyncio.Task[None] | None = None
        self.connected = False
        self._connected_at = 0.0
        """When the subscription began (`time.monotonic`)."""

    @property
    def settled(self) -> bool:
        """True if this subscription, and so that of any other live process, has lasted a while."""
        return self.connected and time.monotonic() >= self._connected_at + SETTLED_SECONDS

    def on(
        self, kind: type[M], callback: Callable[[M | Resync], None], channel: str | None = None
    ) -> None:
        """Call `callback` with each message of this kind, and with Resync; before `start`.

        `channel` is needed for messages to one worker. A callback must not block.
        """
        self._callbacks[channel or kind.CHANNEL].append((kind, callback))

    async def start(self) -> None:
        """Start to receive messages."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop receiving messages."""
        task, self._task = self._task, None
        # Again and again: a time-out inside redis-py that ends at that moment swallows the request.
        while task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=CANCEL_SECONDS)
        self.connected = False

    async def _run(self) -> None:
        while True:
            try:
                await self._receive_all()
            except (redis.RedisError, OSError) as fault:
                log.warning("not subscribed to Redis: %s", type(fault).__name__)
            except Exception:
                log.exception("not subscribed to Redis: a fault of the service")
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _receive_all(self) -> None:
        """Subscribe, and receive until the connection is lost."""
        # Without retries: redis-py would reconnect silently, and nobody would know of the gap.
        client = connect_once(self._url)
        probe = SubscriptionProbe(self._url)
        try:
            async with client.pubsub() as subscription:
                await subscription.subscribe(*self._callbacks, probe.channel)
                await self._receive(subscription, probe)
        except Exception:
            self._set_connected(False)  # before anything is awaited
            raise
        finally:
            probe.stop()
            with contextlib.suppress(redis.RedisError, OSError):
                await client.aclose()

    async def _receive(self, subscription: Any, probe: SubscriptionProbe) -> None:
        unconfirmed = {*self._callbacks, probe.channel}
        pinged = False
        while True:
            received = await subscription.get_message(timeout=PING_SECONDS)
            probe.check()
            if received is None:
                if pinged or unconfirmed:
                    raise redis.TimeoutError
                await subscription.ping()
                pinged = True
                continue
            pinged = False
            if received["type"] == "message":
                channel = received["channel"].decode()
                receive = probe.on_message if channel == probe.channel else self._dispatch
                receive(channel, received["data"])
            elif received["type"] == "subscribe":
                unconfirmed.discard(received["channel"].decode())
                if not unconfirmed:
                    self._set_connected(True)

    def _set_connected(self, connected: bool) -> None:
        self.connected, self._connected_at = connected, time.monotonic()
        self._resync(self._callbacks)

    def _dispatch(self, channel: str, data: bytes) -> None:
        try:
            if len(data) > MAX_MESSAGE_BYTES + OVERHEAD_BYTES:
                raise RefusedMessage(f"it has {len(data)} bytes")
            message = decode(self._decryptor.decrypt(channel, data))
        except RefusedMessage as fault:
            self.refusals.add(channel, fault)
            return
        except MalformedMessage as fault:
            log.warning("skipped a malformed message on %s: %s", channel, fault)
            return
        if isinstance(message, Resync):
            self._resync([channel])
            return
        callbacks = [
            callback for kind, callback in self._callbacks[channel] if kind is type(message)
        ]
        if not callbacks:
            log.warning("skipped a %s on %s", type(message).__name__, channel)
        for callback in callbacks:
            _call(callback, message)

    def _resync(self, channels: Iterable[str]) -> None:
        for channel in list(channels):
            for _, callback in self._callbacks[channel]:
                _call(callback, Resync())


def _call(callback: _Callback, message: Message) -> None:
    try:
        callback(message)
    except Exception:
        log.exception("the callback for a %s failed", type(message).__name__)
