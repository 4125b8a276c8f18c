"""Whatever Redis answers for a while: nothing ends, the reason is known, and all continues.

One worker, one publisher, one subscription and one client live through all of it, on the embedded
Valkey.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis

from api.state.redis_readiness import redis_fault
from resop.config.settings import Settings
from resop.errors import QueueUnavailable
from resop.messaging import signed_transport
from resop.messaging.messages import BatchReady, Resync
from resop.messaging.publisher import EventPublisher
from resop.messaging.redis_client import connect_async
from resop.messaging.subscriber import Subscriber
from tests.integration.messaging.conftest import Engine
from tests.integration.messaging.receiver import QUEUE, Receiver, receiving, until
from tests.integration.messaging.test_subscriber import until as become
from tests.unit.messaging.test_subscriber import KEYS
from worker import celery_internals


def disconnect_all(client: redis.Redis) -> None:
    for kind in ("normal", "pubsub"):
        client.client_kill_filter(_type=kind, skipme=True)


def keep_busy(client: redis.Redis) -> None:
    """Run a script that does not end; wait until Redis says that it is busy."""
    client.config_set("busy-reply-threshold", 10)

    def run() -> None:
        with (
            contextlib.suppress(redis.RedisError),
            contextlib.closing(redis.Redis(connection_pool=client.connection_pool)) as other,
        ):
            other.eval("while true do end", 0)

    threading.Thread(target=run, daemon=True).start()
    time.sleep(0.2)


def end_script(client: redis.Redis) -> None:
    client.script_kill()

    def is_idle() -> bool:
        with contextlib.suppress(redis.ResponseError):
            return bool(client.ping())
        return False

    until(is_idle)


def _dump(client: redis.Redis) -> Path:
    return Path(str(client.config_get("dir")["dir"])) / "dump.rdb"


def fail_to_save(client: redis.Redis) -> None:
    _dump(client).mkdir(exist_ok=True)  # in the place of the file
    client.config_set("save", "900 1")
    client.bgsave()
    until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")


def save_again(client: redis.Redis) -> None:
    _dump(client).rmdir()
    client.bgsave()
    until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok")
    client.config_set("save", "")


def become_stale_replica(client: redis.Redis) -> None:
    client.config_set("replica-serve-stale-data", "no")
    client.replicaof("127.0.0.1", "1")
    disconnect_all(client)


class Fault(NamedTuple):
    """How Redis is put into a state and out of it, and what `/health/ready` says meanwhile."""

    begin: Callable[[redis.Redis], Any]
    end: Callable[[redis.Redis], Any]
    reason: str | None
    """None if it takes tasks all the same."""


def set_password(client: redis.Redis) -> None:
    client.config_set("requirepass", "changed")
    disconnect_all(client)


def forbid(command: str) -> Callable[[redis.Redis], Any]:
    def begin(client: redis.Redis) -> None:
        client.acl_setuser("default", enabled=True, commands=[f"-{command}"])
        disconnect_all(client)

    return begin


def allow_all(client: redis.Redis) -> None:
    client.acl_setuser("default", enabled=True, commands=["+@all"])


FAULTS: dict[str, Fault] = {
    "replica": Fault(
        lambda client: client.replicaof("127.0.0.1", "1"),
        lambda client: client.replicaof("NO", "ONE"),
        "Redis is a read-only replica",
    ),
    "stale replica": Fault(
        become_stale_replica,
        lambda client: client.replicaof("NO", "ONE"),
        "Redis is a read-only replica",
    ),
    "out of memory": Fault(
        lambda client: client.config_set("maxmemory", 1),
        lambda client: client.config_set("maxmemory", 0),
        "Redis has reached its maxmemory",
    ),
    "cannot save": Fault(fail_to_save, save_again, "Redis cannot save its data to disk"),
    "too few replicas": Fault(
        lambda client: client.config_set("min-replicas-to-write", 1),
        lambda client: client.config_set("min-replicas-to-write", 0),
        "Redis has fewer replicas than its min-replicas-to-write",
    ),
    "script": Fault(keep_busy, end_script, "Redis is busy with a script"),
    "another password": Fault(
        set_password,
        lambda client: client.config_set("requirepass", ""),
        "Redis refuses the user or password of REDIS_URL",
    ),
    "forbidden to push": Fault(forbid("lpush"), allow_all, None),
    "forbidden to publish": Fault(
        forbid("publish"),
        allow_all,
        "the Redis user may not do what the service needs: see docs/security.md",
    ),
    "forbidden to ask": Fault(forbid("brpop"), allow_all, None),
    "forbidden even to ping": Fault(forbid("ping"), allow_all, None),
    "blocked clients unblocked": Fault(
        lambda client: [
            client.client_unblock(int(each["id"]), error=True) for each in client.client_list()
        ],
        lambda client: None,
        None,
    ),
    "queue is not a list": Fault(
        lambda client: client.set(QUEUE, "x"), lambda client: client.delete(QUEUE), None
    ),
    "disconnected": Fault(disconnect_all, lambda client: None, None),
    "paused": Fault(lambda client: client.client_pause(400), lambda client: None, None),
}
SECONDS = 0.5
"""How long each lasts."""
BRPOP_SECONDS = 0.2
"""How often the worker asks for messages in these tests."""


class Service:
    """The parts of the service that talk to Redis."""

    def __init__(self, engine: Engine, receiver: Receiver) -> None:
        self.receiver = receiver
        self.publisher = EventPublisher(engine.url, KEYS)
        self.client = connect_async(engine.url, KEYS)
        self.subscriber = Subscriber(engine.url, KEYS)
        self.received: list[BatchReady | Resync] = []
        self.subscriber.on(BatchReady, self.received.append)

    async def works(self) -> None:
        """Check each part once, without a second try except for the subscription's."""
        assert await self.client.set("resop:check", "1", px=100)
        await asyncio.to_thread(self.receiver.works)
        await become(lambda: self.subscriber.connected)
        self.received.clear()
        await asyncio.to_thread(self.publisher.publish, BatchReady())
        await become(lambda: BatchReady() in self.received)
        assert await redis_fault(self.client) is None


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed_transport, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(celery_internals, "RECONNECT_SECONDS", 0.1)
    monkeypatch.setattr(signed_transport.SignedTransport, "brpop_timeout", BRPOP_SECONDS)


@pytest.fixture
def receiver(engine: Engine, tmp_path: Path) -> Iterator[Receiver]:
    with receiving(Settings(DATA_DIR=tmp_path)) as receiver:
        yield receiver


async def test_service_goes_on_when_redis_is_itself_again(
    engine: Engine, receiver: Receiver
) -> None:
    service = Service(engine, receiver)
    await service.subscriber.start()
    with contextlib.closing(engine.client()) as administrator:
        administrator.ping()  # its connection is open before each fault, and is not closed
        for name, fault in FAULTS.items():
            print(name)  # shown if the test fails
            await service.works()
            await asyncio.to_thread(fault.begin, administrator)
            await asyncio.sleep(SECONDS)
            found = await redis_fault(service.client)
            assert name == "paused" or found == fault.reason, name
            await asyncio.to_thread(fault.end, administrator)
    await service.works()
    await service.subscriber.stop()
    await service.client.aclose()
    service.publisher.close()


def test_fault_of_a_library_ends_no_worker(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As kombu has had in some releases: an error of Python's own in the middle of a message."""

    def fail(*_: object) -> None:
        raise AttributeError("'NoneType' object has no attribute 'fileno'")

    for _ in range(2):
        assert receiver.works()
        broken = receiver.connection.transport
        monkeypatch.setattr(broken, "_deliver", fail)
        receiver.queue.put("lost", "hpc")
        until(lambda: receiver.connection and receiver.connection.transport is not broken)  # noqa: B023
    assert receiver.works()
    assert "lost" not in receiver.ids


def test_worker_that_has_stopped_receiving_begins_again(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process lives, and its connection is good, but it asks for no messages any more."""
    monkeypatch.setattr(celery_internals, "WATCH_SECONDS", BRPOP_SECONDS)
    monkeypatch.setattr(celery_internals, "SILENT_CHECKS", 4)
    with receiving(Settings(DATA_DIR=tmp_path)) as receiver:
        assert receiver.works()
        channel = receiver.worker.consumer.task_consumer.channel
        time.sleep(2)
        assert receiver.worker.consumer.task_consumer.channel is channel, "no need to begin again"
        monkeypatch.setattr(channel, "_brpop_start", lambda timeout=None: None)
        time.sleep(2 * BRPOP_SECONDS)  # what it has asked before is answered
        assert receiver.works()
        assert receiver.worker.consumer.task_consumer.channel is not channel


def test_worker_starts_while_redis_refuses_everything(engine: Engine, tmp_path: Path) -> None:
    with contextlib.closing(engine.client()) as client:
        client.ping()
        become_stale_replica(client)
        ended = threading.Timer(1, client.replicaof, ("NO", "ONE"))
        ended.start()
        with receiving(Settings(DATA_DIR=tmp_path)) as receiver:
            assert receiver.works_again()
        ended.join()


@pytest.mark.parametrize("fault", ["out of memory", "replica", "queue is not a list"])
def test_redis_that_takes_no_task_is_unavailable(
    engine: Engine, tmp_path: Path, fault: str
) -> None:
    queue = Receiver(Settings(DATA_DIR=tmp_path)).queue
    queue.put("t1", "hpc")
    with contextlib.closing(engine.client()) as client:
        if fault == "queue is not a list":
            client.delete(QUEUE)
        FAULTS[fault].begin(client)
        with pytest.raises(QueueUnavailable):
            queue.put("t2", "hpc")
