"""kombu's Redis transport, with a signature on every message of a queue.

Anybody who can write to Redis can push anything onto a queue, and Celery believes what it finds:
a message names the task, its time, its callbacks and its reply queue, and one that is malformed
ends the worker. So a message is signed when it is pushed and checked before anything reads it;
others are counted and dropped.

This builds on parts of kombu that it does not document. A test of this file fails if a later
kombu changes any of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import redis
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import Channel, SentinelChannel, SentinelTransport, Transport
from kombu.utils.encoding import bytes_to_str, str_to_bytes

from resop.messaging.redis_client import MasterFinder, retry
from resop.messaging.refusals import Refusals
from resop.security.message_encryption import RefusedMessage
from resop.security.message_signing import MessageSigner

TRANSPORT = "signed-redis"
"""kombu's name of this transport: `Connection("signed-redis://…")`."""
SENTINEL_TRANSPORT = "signed-sentinel"
"""The same for servers that sentinels name."""
RETRY_SECONDS = 1.0
"""Pause after Redis refused to be asked for a message."""

_OPTIONS = ("signer", "refusals")


class _SigningClient(redis.Redis):
    """A Redis client that signs what it pushes, and returns what was signed only."""

    def __init__(
        self, signer: MessageSigner, refusals: Refusals, separator: str, *args: Any, **options: Any
    ) -> None:
        """Set up; `separator` ends the name of a queue in the names of its further lists."""
        self._signer, self._refusals, self._separator = signer, refusals, separator
        super().__init__(*args, **options)

    def lpush(self, name: Any, *values: Any) -> Any:
        """Push messages onto a list, each signed for its queue."""
        queue = self._queue(name)
        signed = (self._signer.sign(queue, str_to_bytes(each)) for each in values)
        return super().lpush(name, *signed)

    def rpop(self, name: Any, count: int | None = None) -> Any:
        """Pop the next message that was signed for its queue; None if there is none."""
        while (item := super().rpop(name)) is not None:
            if (message := self._checked(name, item)) is not None:
                return message
        return None

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        """Return an answer of Redis; that to BRPOP only if its message was signed for its queue."""
        answer: Any
        try:
            answer = super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        except redis.ResponseError as fault:
            if command_name != "BRPOP":
                raise
            # It has become a replica, is loading, has no memory, or the list is none. A worker
            # ends at an error that is not one of its connection, but all of these may pass.
            time.sleep(RETRY_SECONDS)
            raise redis.ConnectionError(str(fault)) from fault
        if command_name != "BRPOP" or not answer:
            return answer
        name, item = answer
        message = self._checked(name, item)
        return None if message is None else (name, message)

    def _checked(self, name: Any, item: Any) -> bytes | None:
        queue = self._queue(name)
        try:
            return self._signer.check(queue, item)
        except RefusedMessage as fault:
            self._refusals.add(queue, fault)
            return None

    def _queue(self, name: Any) -> str:
        """Return the queue of a list: each priority has a list of its own."""
        return str(bytes_to_str(name).rsplit(self._separator, 1)[0])


class SignedChannel(Channel):
    """A channel whose messages are signed, and that keeps nothing in Redis but its queues."""

    from_transport_options = (*Channel.from_transport_options, *_OPTIONS)
    signer: MessageSigner
    refusals: Refusals
    # Messages are not acknowledged, so nothing has to be remembered of a delivered message.
    ack_emulation = False

    def _get_client(self) -> Any:
        super()._get_client()  # type: ignore[misc]  # raises if redis-py is too old
        return partial(_SigningClient, self.signer, self.refusals, self.sep)

    def _connparams(self, asynchronous: bool = False) -> Any:
        """Return the options of a connection, which is opened again as those of other clients."""
        return {**super()._connparams(asynchronous), "retry": retry()}  # type: ignore[misc]

    def _queue_bind(self, *_: Any, **__: Any) -> None:
        """Keep no table of queues: messages are sent to queues by name, not through exchanges."""


class SignedTransport(Transport):
    """kombu's Redis transport with signed messages.

    The transport options "signer" and "refusals" are needed.
    """

    Channel = SignedChannel
    supports_batch_publish = False  # pipelines would push unsigned messages


class SignedSentinelChannel(SignedChannel, SentinelChannel):
    """The same, of the server that the transport option "sentinels" names for "master_name"."""

    from_transport_options = (*SentinelChannel.from_transport_options, *_OPTIONS, "sentinels")
    sentinels: Sequence[tuple[str, int]]
    sentinel_kwargs: dict[str, Any]
    master_name: str

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> Any:
        """Return a pool of connections; kombu would read the sentinels from a list of addresses."""
        options = self._connparams(asynchronous)
        for name in ("host", "port"):
            options.pop(name)
        finder = MasterFinder(self.sentinels, self.sentinel_kwargs, **options)
        if asynchronous:
            self._async_sentinel_manager = finder  # kombu closes both
        else:
            self._sentinel_manager = finder
        return finder.client(self.master_name).connection_pool


class SignedSentinelTransport(SignedTransport, SentinelTransport):
    """kombu's transport for Redis with sentinels, with signed messages.

    The transport options "sentinels", "sentinel_kwargs" and "master_name" are needed, too.
    """

    Channel = SignedSentinelChannel


def register_transport() -> None:
    """Let addresses of brokers begin with `signed-redis://` and the other names above."""
    TRANSPORT_ALIASES[TRANSPORT] = f"{__name__}:{SignedTransport.__name__}"
    TRANSPORT_ALIASES[SENTINEL_TRANSPORT] = f"{__name__}:{SignedSentinelTransport.__name__}"
