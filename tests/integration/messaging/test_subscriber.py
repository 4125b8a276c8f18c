"""The subscription on the embedded engine: garbage, a restart, a frozen engine."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable

import pytest

from resop.messaging import redis_client
from resop.messaging import subscriber as module
from resop.messaging.messages import LoggedOut, LoginRequest, Message, Resync, TaskEnded
from resop.messaging.publisher import EventPublisher
from resop.messaging.subscriber import Subscriber
from tests.integration.messaging.conftest import Engine
from tests.unit.messaging.test_messages import GARBAGE
from tests.unit.messaging.test_subscriber import GOOD, KEYS, everything


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


@pytest.fixture
def subscriber(engine: Engine) -> tuple[Subscriber, list[Message]]:
    subscriber, received = everything()
    subscriber._url = engine.url
    return subscriber, received


async def test_garbage_on_every_channel_and_then_a_good_message(
    engine: Engine, subscriber: tuple[Subscriber, list[Message]]
) -> None:
    subscribed, received = subscriber
    await subscribed.start()
    await until(lambda: subscribed.connected)
    received.clear()
    with contextlib.closing(engine.client()) as client:
        for message in GOOD:
            for garbage in (*GARBAGE.values(), b"x" * (8 << 20)):
                client.publish(message.channel, garbage)
    publisher = EventPublisher(engine.url, KEYS)
    publisher.publish(*GOOD)
    publisher.close()
    await until(lambda: len(received) == len(GOOD), 30)
    assert received == GOOD
    assert subscribed.connected
    await subscribed.stop()


async def test_restart_is_noticed_at_once_and_ended_by_a_resync(
    engine: Engine, subscriber: tuple[Subscriber, list[Message]]
) -> None:
    subscribed, received = subscriber
    await subscribed.start()
    await until(lambda: subscribed.connected)
    received.clear()
    await asyncio.to_thread(engine.stop)
    began = time.monotonic()
    await until(lambda: not subscribed.connected)
    assert time.monotonic() - began < 0.5
    assert set(received) == {Resync()}
    await asyncio.to_thread(engine.start)
    await until(lambda: subscribed.connected)
    received.clear()
    EventPublisher(engine.url, KEYS).publish(LoggedOut("c"), LoginRequest("l", "w1", "x"))
    await until(lambda: len(received) == 2)
    await subscribed.stop()


async def test_killed_connection_is_noticed_although_redis_is_there(
    engine: Engine, subscriber: tuple[Subscriber, list[Message]]
) -> None:
    subscribed, received = subscriber
    await subscribed.start()
    await until(lambda: subscribed.connected)
    received.clear()
    with contextlib.closing(engine.client()) as client:
        client.client_kill_filter(_type="pubsub")
    await until(lambda: not subscribed.connected)
    await until(lambda: subscribed.connected)
    assert set(received) == {Resync()} and len(received) == 2 * len(GOOD)
    await subscribed.stop()


async def test_frozen_engine_is_lost(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the machine of Redis has gone: the connection stays, and nothing answers."""
    monkeypatch.setattr(module, "PING_SECONDS", 0.2)
    monkeypatch.setattr(redis_client, "REDIS_TIMEOUT_SECONDS", 0.2)
    subscribed, received = Subscriber(engine.url, KEYS), list[Message]()
    subscribed.on(TaskEnded, received.append)
    await subscribed.start()
    await until(lambda: subscribed.connected)
    await asyncio.sleep(0.6)
    assert subscribed.connected and received == [Resync()]
    engine.signal(signal.SIGSTOP)
    await until(lambda: not subscribed.connected, 2)
    engine.signal(signal.SIGCONT)
    await until(lambda: subscribed.connected)
    await subscribed.stop()
