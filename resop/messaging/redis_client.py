"""Connect to Redis so that whatever it does to a connection costs nobody an answer.

Managed Redis and firewalls close idle connections, a restart closes all of them, and after a
failover the old server may still answer, but refuses to be written to. In each case the connection
is opened again, which leads to the server that the name, the proxy or the sentinels name now, and
the command is sent again. This is the one place that decides so, for Celery's connections too.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import MasterNotFoundError as AsyncMasterNotFoundError
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.connection import parse_url
from redis.exceptions import MasterDownError, ReadOnlyError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from resop.config.redis_address import RedisAddress, read_redis_address
from resop.messaging.redis_workarounds import keep_cancellations
from resop.security.message_encryption import MessageEncryptor

keep_cancellations()

REDIS_TIMEOUT_SECONDS = 5
SENTINEL_TIMEOUT_SECONDS = 1
"""After this, the next sentinel is asked."""
RECONNECTS = 2
"""Only for a connection that is closed, refused or leads to a replica; a server that does not
answer is not asked again. redis-py also connects as often at each of them: all fail in 1.2 s."""
KEEPALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}
"""Keeps an idle connection in the tables of firewalls, and notices one that is gone; seconds."""
RETRIED = (redis.ConnectionError, ReadOnlyError, MasterDownError)
"""The errors after which redis-py closes the connection and sends the command over a new one."""

_CLOSED = (redis.ConnectionError,)
_BACKOFF = ExponentialBackoff(cap=0.4, base=0.05)


class NoMaster(redis.TimeoutError):
    """No sentinel names a master that is up.

    Not one of RETRIED: a failover takes seconds, and sentinels that are gone take one each.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"no sentinel names a master {name!r} that is up")


class MasterFinder(Sentinel):
    """The sentinels, for threads; raises NoMaster."""

    def __init__(
        self, sentinels: Sequence[tuple[str, int]], asked_with: dict[str, Any], **options: Any
    ) -> None:
        """Set up; `asked_with` and `options` are for connections to sentinels and to the master."""
        super().__init__(sentinels, sentinel_kwargs=asked_with, **options)  # type: ignore[no-untyped-call]

    def client(self, master: str, **options: Any) -> redis.Redis:
        """Return a client of the master with this name."""
        return self.master_for(master, **options)  # type: ignore[no-any-return, no-untyped-call]

    def discover_master(self, service_name: str) -> Any:
        """Return host and port of the master."""
        try:
            return super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError as fault:
            raise NoMaster(service_name) from fault


class _AsyncMasterFinder(AsyncSentinel):
    """The sentinels, for an event loop; raises NoMaster."""

    async def discover_master(self, service_name: str) -> Any:
        """Return host and port of the master."""
        try:
            return await super().discover_master(service_name)
        except AsyncMasterNotFoundError as fault:
            raise NoMaster(service_name) from fault


class _MasterClient(redis.asyncio.Redis):
    """A client for an event loop that closes its connections to sentinels, too."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close all connections."""
        await super().aclose(close_connection_pool)
        sentinel: AsyncSentinel | None = getattr(self.connection_pool, "sentinel_manager", None)
        if sentinel is not None:
            await sentinel.aclose()


class EncryptingRedis(_MasterClient):
    """A client for an event loop, which has the key for the messages published over it."""

    message_encryptor: MessageEncryptor


def retry() -> Retry:
    """Return what redis-py does after an error, for threads."""
    return Retry(_BACKOFF, RECONNECTS, RETRIED)


def connect(url: str) -> redis.Redis:
    """Return a client for threads; connections are opened when they are needed."""
    address = read_redis_address(url)
    options = {**_options(url), "retry": retry()}
    if not address.sentinels:
        return redis.Redis.from_url(url, **options)
    finder = MasterFinder(address.sentinels, sentinel_options(address))
    return finder.client(address.master, **_server_options(address), **options)


def connect_async(url: str, keys: Sequence[bytes]) -> EncryptingRedis:
    """Return a client for an event loop; `keys` are `Encryptor.message_keys`."""
    client = _connect_async(EncryptingRedis, url, AsyncRetry(_BACKOFF, RECONNECTS, RETRIED))
    client.message_encryptor = MessageEncryptor(keys)
    return client  # type: ignore[no-any-return]


def connect_once(url: str) -> redis.asyncio.Redis:
    """Return a client for an event loop that reports every lost connection."""
    return _connect_async(_MasterClient, url, AsyncRetry(NoBackoff(), 0))  # type: ignore[no-any-return]


def sentinel_options(address: RedisAddress) -> dict[str, Any]:
    """Return redis-py's options for connections to the sentinels, for threads."""
    seconds = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), SENTINEL_TIMEOUT_SECONDS)
    tls = {"ssl": True, **_tls_options(address)} if address.tls else {}
    login = {"username": address.sentinel_username, "password": address.sentinel_password}
    return {**seconds, **tls, **login, "retry": Retry(NoBackoff(), 1, _CLOSED)}


def _connect_async(kind: type[Any], url: str, after_error: AsyncRetry) -> Any:
    address = read_redis_address(url)
    options = {**_options(url), "retry": after_error}
    if not address.sentinels:
        return kind.from_url(url, **options)
    asked_with = {**sentinel_options(address), "retry": AsyncRetry(NoBackoff(), 1, _CLOSED)}
    finder: Any = _AsyncMasterFinder(address.sentinels, sentinel_kwargs=asked_with)  # type: ignore[no-untyped-call]
    return finder.master_for(address.master, kind, **_server_options(address), **options)


def _server_options(address: RedisAddress) -> dict[str, Any]:
    """Return redis-py's options for connections to the server that sentinels name."""
    options: dict[str, Any] = parse_url(address.url)  # type: ignore[no-untyped-call]
    for name in ("host", "port", "connection_class"):
        options.pop(name, None)
    return {**options, "ssl": address.tls}


def _tls_options(address: RedisAddress) -> dict[str, Any]:
    options = _server_options(address)
    return {name: value for name, value in options.items() if name.startswith("ssl_")}


def _options(url: str) -> dict[str, Any]:
    timeouts = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), REDIS_TIMEOUT_SECONDS)
    if url.startswith("unix:"):
        return timeouts
    return {**timeouts, "socket_keepalive": True, "socket_keepalive_options": KEEPALIVE}
