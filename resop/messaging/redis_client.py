"""Connect to Redis so that a connection that it has closed costs nobody an answer.

Managed Redis and firewalls close idle connections, and a restart closes all of them: a command
that finds its connection closed is sent again over a new one.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from resop.security.message_encryption import MessageEncryptor

REDIS_TIMEOUT_SECONDS = 5
RECONNECTS = 3
"""Only for a connection that is closed or refused, not for one that does not answer."""
KEEPALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}
"""Keeps an idle connection in the tables of firewalls, and notices one that is gone; seconds."""

_BACKOFF = ExponentialBackoff(cap=0.4, base=0.05)


class EncryptingRedis(redis.asyncio.Redis):
    """A client for an event loop, which has the key for the messages published over it."""

    message_encryptor: MessageEncryptor


def connect(url: str) -> redis.Redis:
    """Return a client for threads; connections are opened when they are needed."""
    retry = Retry(_BACKOFF, RECONNECTS, (redis.ConnectionError,))
    return redis.Redis.from_url(url, retry=retry, **_options(url))


def connect_async(url: str, keys: Sequence[bytes]) -> EncryptingRedis:
    """Return a client for an event loop; `keys` are `Encryptor.message_keys`."""
    retry = AsyncRetry(_BACKOFF, RECONNECTS, (redis.ConnectionError,))
    client: Any = EncryptingRedis.from_url(url, retry=retry, **_options(url))
    client.message_encryptor = MessageEncryptor(keys)
    return client  # type: ignore[no-any-return]


def _options(url: str) -> dict[str, Any]:
    timeouts = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), REDIS_TIMEOUT_SECONDS)
    if url.startswith("unix:"):
        return timeouts
    return {**timeouts, "socket_keepalive": True, "socket_keepalive_options": KEEPALIVE}
