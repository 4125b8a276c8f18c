"""A Celery worker on the embedded engine, and somebody else who writes to Redis.

kombu still works as `resop/messaging/signed_transport.py` expects, too.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from resop.config.settings import Settings
from resop.messaging import signed_transport
from resop.messaging.task_queue import TASK_NAME, TaskQueue, celery_app
from resop.security.encryption import Encryptor
from resop.security.message_signing import MessageSigner
from resop.types import Secret
from tests.integration.messaging.conftest import Engine
from tests.integration.messaging.receiver import QUEUE, Receiver, receiving, until
from tests.unit.messaging.test_messages import GARBAGE

KEY = Secret("Zk3wVb9qLx7TgH2mRd5sNc8yPf4jUa6e")
NEW_KEY = Secret("e6aUj4fPy8cNs5dRm2HgT7xLq9bVw3kZ")


@pytest.fixture
def settings(engine: Engine, tmp_path: Path) -> Settings:
    return Settings(DATA_DIR=tmp_path)


@pytest.fixture
def client(engine: Engine) -> Iterator[redis.Redis]:
    with contextlib.closing(engine.client()) as client:
        yield client


@pytest.fixture
def receiver(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(signed_transport, "RETRY_SECONDS", 0.05)
    with receiving(settings) as receiver:
        yield receiver


def celery_message(settings: Settings, **changes: Any) -> bytes:
    """Return a message as Celery itself would push it, with other headers or properties."""
    plain = Celery("attacker", broker=settings.broker_url, set_as_current=False, fixups=[])
    with plain.connection_for_write() as connection:
        channel: Any = connection.default_channel
        plain.send_task(TASK_NAME, ["FORGED"], queue="elsewhere", connection=connection)
        message = json.loads(channel.client.rpop("elsewhere"))
    plain.close()
    for part, values in changes.items():
        message[part] = {**message[part], **values} if isinstance(values, dict) else values
    return json.dumps(message).encode()


def test_garbage_ends_no_worker(receiver: Receiver, client: redis.Redis) -> None:
    pushed = [b"[]", b"{}", b"null", b'"x"', b'[{"a": 1}]', b"\x00", *GARBAGE.values()]
    pushed = [each for each in pushed if each]
    for number, item in enumerate(pushed):
        key = QUEUE if number % 2 else f"{QUEUE}\x06\x169"  # also the list of another priority
        client.lpush(key, item)
    assert receiver.works()
    until(lambda: receiver.refused == len(pushed))
    assert all(str(each).startswith("check-") for each in receiver.ids)


def test_forged_task_messages_do_nothing(
    receiver: Receiver, settings: Settings, client: redis.Redis
) -> None:
    """Celery would believe all of them: other tasks, times, callbacks and reply queues."""
    signature = {"task": TASK_NAME, "args": ["FORGED"], "kwargs": {}, "options": {}}
    forged = [
        celery_message(settings),
        celery_message(settings, headers={"task": "celery.backend_cleanup"}),
        celery_message(settings, headers={"task": "unknown.task"}),
        celery_message(settings, headers={"eta": "2020-01-01T00:00:00+00:00", "retries": 7}),
        celery_message(settings, headers={"expires": "never", "timelimit": [1, 1]}),
        celery_message(settings, headers={"compression": "bzip2", "callbacks": [signature]}),
        celery_message(settings, properties={"reply_to": "victim", "priority": 0}),
        celery_message(settings, properties={"delivery_info": None, "delivery_tag": None}),
        celery_message(settings, body=json.dumps([["FORGED"], {}, {"chord": signature}])),
        celery_message(settings, **{"content-type": "application/x-python-serialize"}),
    ]
    own = MessageSigner(Encryptor(settings.secret_key()).queue_keys)
    stranger = MessageSigner(Encryptor(b"another key, long enough 0123456789").queue_keys)
    forged += [stranger.sign(QUEUE, forged[0]), own.sign("cluster.other", forged[0])]
    client.lpush(QUEUE, *forged)
    assert receiver.works()
    until(lambda: receiver.refused == len(forged))
    assert "FORGED" not in receiver.ids
    assert client.keys("*victim*") == []


def test_signed_message_is_for_its_queue_only(receiver: Receiver, client: redis.Redis) -> None:
    """A person who moves a message cannot make a worker run the task of another cluster."""
    receiver.queue.put("t1", "other")
    item = client.rpop("cluster.other")
    assert isinstance(item, bytes) and b'"task": "resop.execute"' in item
    client.lpush(QUEUE, item)
    assert receiver.works()
    assert receiver.refused == 1 and "t1" not in receiver.ids


def test_commands_to_workers_through_redis_do_nothing(
    receiver: Receiver, settings: Settings, client: redis.Redis
) -> None:
    attacker = Celery("attacker", broker=settings.broker_url, set_as_current=False, fixups=[])
    control = attacker.control
    control.shutdown()
    control.purge()
    for command in ("pool_shrink", "cancel_consumer", "rate_limit", "time_limit", "revoke"):
        control.broadcast(command, arguments={"queue": QUEUE, "task_name": TASK_NAME})
    assert control.ping(timeout=0.5) == []
    attacker.close()
    assert client.pubsub_channels() == [], "a worker listens to nobody"
    assert receiver.works()


def test_worker_leaves_nothing_in_redis_but_its_queues(
    receiver: Receiver, client: redis.Redis
) -> None:
    assert receiver.works()
    assert client.keys() == []
    receiver.queue.put("t1", "idle")
    assert client.keys() == [b"cluster.idle"]


def test_change_of_the_secret_key_loses_no_task(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Settings(DATA_DIR=tmp_path, SECRET_KEY=KEY)
    TaskQueue(celery_app(old)).put("t1", "hpc")
    changed = Settings(
        DATA_DIR=tmp_path,
        SECRET_KEY=NEW_KEY,
        SECRET_KEY_OLD=KEY,
    )
    app = celery_app(changed)
    TaskQueue(app).put("t2", "hpc")
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        bodies = [channel.basic_get(QUEUE, no_ack=True).payload[0] for _ in range(2)]
    assert bodies == [["t1"], ["t2"]]
    with celery_app(old).connection_for_read() as connection:
        TaskQueue(app).put("t3", "hpc")
        other: Any = connection.default_channel
        assert other.basic_get(QUEUE, no_ack=True) is None


def test_tls_of_the_queue_checks_the_certificate_unless_told_otherwise() -> None:
    def parameters(address: str) -> Any:
        settings = Settings(REDIS_URL=address, SECRET_KEY=KEY)
        return celery_app(settings).connection_for_write().ssl

    assert parameters("rediss://r:1/0") == {"ssl_cert_reqs": "required"}
    assert parameters("rediss://r:1/0?ssl_ca_certs=/ca.pem") == {"ssl_ca_certs": "/ca.pem"}
    assert int(parameters("rediss://r:1/0?ssl_cert_reqs=none")["ssl_cert_reqs"]) == 0
    assert not parameters("redis://r:1/0")
