"""All that talks to Redis follows the master when its role moves to another server."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from api.state.redis_readiness import redis_fault
from resop.config.settings import Settings
from resop.errors import QueueUnavailable
from resop.messaging import subscription_probe
from resop.messaging.messages import BatchReady, Resync
from resop.messaging.publisher import EventPublisher
from resop.messaging.redis_client import NoMaster, connect, connect_async, connect_once
from resop.messaging.subscriber import Subscriber
from resop.messaging.task_queue import TaskQueue, celery_app
from resop.types import Secret
from tests.integration.messaging.conftest import Engine
from tests.integration.messaging.receiver import receiving
from tests.integration.messaging.test_subscriber import until
from tests.support.needs import need
from tests.support.ports import HOST, free_port
from tests.support.sentinels import TLS_FILES, RedisWithSentinels
from tests.support.services import reason_unavailable
from tests.unit.messaging.test_subscriber import KEYS

KEY = Secret(secrets.token_urlsafe(48))


def certificate(folder: Path) -> dict[str, Path]:
    """Make a certificate for this machine's loopback address, which is its own authority."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    names = ["-subj", "/CN=redis", "-addext", f"subjectAltName=IP:{HOST}"]
    made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(cert)]
    command = ["openssl", "req", "-x509", *made, *names, *files]
    subprocess.run(command, check=True, capture_output=True, timeout=20)
    return dict(zip(TLS_FILES, (cert, key, cert), strict=True))


@pytest.fixture(params=["plain", "tls"])
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisWithSentinels]:
    need(reason_unavailable())
    tls = certificate(tmp_path) if request.param == "tls" else None
    with RedisWithSentinels(tmp_path / "redis", tls=tls) as servers:
        yield servers


async def test_every_connection_follows_the_sentinels(
    servers: RedisWithSentinels, tmp_path: Path
) -> None:
    url = servers.url
    settings = Settings(REDIS_URL=url, SECRET_KEY=KEY, DATA_DIR=tmp_path)
    subscriber, received = Subscriber(url, KEYS), list[BatchReady | Resync]()
    subscriber.on(BatchReady, received.append)
    publisher, client = EventPublisher(url, KEYS), connect_async(url, KEYS)

    async def publishes() -> bool:
        received.clear()
        with contextlib.suppress(QueueUnavailable):
            await asyncio.to_thread(publisher.publish, BatchReady())
            await asyncio.sleep(0.1)
        return BatchReady() in received

    async def writes() -> bool:
        with contextlib.suppress(redis.RedisError):
            return bool(await client.set("resop:check", "1"))
        return False

    with receiving(settings) as receiver:
        await subscriber.start()
        changes = [lambda: None, servers.failover, servers.kill_master]
        for change in changes[: 2 if url.startswith("rediss") else 3]:
            await asyncio.to_thread(change)
            began = time.monotonic()
            for check in (writes, publishes):
                while not await check():
                    assert time.monotonic() < began + 10
                    await asyncio.sleep(0.05)
            await asyncio.to_thread(receiver.works_again)
            await until(lambda: subscriber.connected)
        with contextlib.closing(servers.client()) as master:
            assert master.get("resop:check") == b"1", "written to the master of now"
    await subscriber.stop()
    await client.aclose()
    publisher.close()


class Switch:
    """An address that leads new connections elsewhere from some moment on, as a name or a proxy.

    Connections that exist stay where they are.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.port = free_port()
        self._listener = socket.create_server((HOST, self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self.target))
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=_relay, args=(source, sink), daemon=True).start()


def _relay(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError), source, sink:
        while data := source.recv(65536):
            sink.sendall(data)


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[tuple[Engine, Engine]]:
    engines = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        engines.append(Engine(tmp_path / name))
        engines[-1].start()
    yield engines[0], engines[1]
    for each in engines:
        each.stop()


@pytest.mark.parametrize("old", ["a read-only replica", "as if nothing had happened"])
async def test_address_that_leads_to_another_server_is_followed(
    engines: tuple[Engine, Engine],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    old: str,
) -> None:
    """The old server continues to answer, as after a failover of managed Redis."""
    monkeypatch.setattr(subscription_probe, "PROBE_SECONDS", 1.0)
    monkeypatch.setattr("resop.messaging.subscriber.PING_SECONDS", 1.0)
    switch = Switch(tmp_path / "a" / "valkey.sock")
    url = f"redis://{HOST}:{switch.port}/0"
    subscriber, received = Subscriber(url, KEYS), list[BatchReady | Resync]()
    subscriber.on(BatchReady, received.append)
    await subscriber.start()
    await until(lambda: subscriber.connected)
    client, threaded = connect_async(url, KEYS), connect(url)
    await client.set("k", "1")
    threaded.set("k", "1")
    await asyncio.sleep(3)
    assert received == [Resync()], "it subscribes once only while its messages arrive"
    switch.target = tmp_path / "b" / "valkey.sock"
    if old == "a read-only replica":
        with contextlib.closing(engines[0].client()) as first:
            first.replicaof(HOST, "1")
        assert await client.set("k", "2") and threaded.set("k", "3")
        with contextlib.closing(engines[1].client()) as second:
            assert second.get("k") == b"3"
    received.clear()
    publisher = EventPublisher(url, KEYS)
    await until(lambda: Resync() in received)
    await until(lambda: subscriber.connected)
    publisher.publish(BatchReady())
    await until(lambda: BatchReady() in received)
    await subscriber.stop()
    await client.aclose()
    for each in (threaded, publisher, switch):
        each.close()


async def test_sentinels_that_cannot_be_reached_are_named_as_the_reason(tmp_path: Path) -> None:
    url = f"redis+sentinel://{HOST}:{free_port()},{HOST}:{free_port()}/mymaster/0"
    began = time.monotonic()
    for client in (connect_async(url, KEYS), connect_once(url)):
        with pytest.raises(NoMaster):
            await client.ping()
        assert await redis_fault(client) == "no sentinel names a master that is up"
        await client.aclose()
    with contextlib.closing(connect(url)) as threaded, pytest.raises(NoMaster):
        threaded.ping()
    queue = TaskQueue(celery_app(Settings(REDIS_URL=url, SECRET_KEY=KEY, DATA_DIR=tmp_path)))
    with pytest.raises(QueueUnavailable):
        queue.put("t1", "hpc")
    assert time.monotonic() - began < 5, "nobody waits for what is not there"
