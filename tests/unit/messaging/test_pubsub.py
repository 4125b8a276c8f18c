"""Words between processes: who waits hears, also what might have been missed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import fakeredis
import pytest
import redis

from api.state.task_waiters import CompletionWaiters
from resop.errors import QueueUnavailable
from resop.messaging import subscriber
from resop.messaging.publisher import ENDED, LONGEST_RESULT, EventPublisher
from resop.messaging.subscriber import Subscriber


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> fakeredis.FakeServer:
    """One fake Redis for both sides."""
    server = fakeredis.FakeServer()

    def blocking(url: str, **_: object) -> redis.Redis:
        return fakeredis.FakeRedis(server=server)

    def asynchronous(url: str, **_: object) -> redis.asyncio.Redis:
        return fakeredis.FakeAsyncRedis(server=server)

    monkeypatch.setattr(redis.Redis, "from_url", blocking)
    monkeypatch.setattr(redis.asyncio.Redis, "from_url", asynchronous)
    monkeypatch.setattr(subscriber, "PAUSE_SECONDS", 0.01)
    return server


async def until_connected(subscription: Subscriber) -> None:
    for _ in range(500):
        if subscription.connected:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not connected within 5 s")


@contextlib.asynccontextmanager
async def subscribed(waiters: CompletionWaiters) -> AsyncIterator[None]:
    subscription = Subscriber("redis://fake", {ENDED: waiters.on_message})
    await subscription.start()
    try:
        await until_connected(subscription)
        yield
    finally:
        await subscription.stop()


async def test_a_waiter_hears_the_end_with_its_result(server: fakeredis.FakeServer) -> None:
    waiters = CompletionWaiters()
    async with subscribed(waiters):
        with waiters.waiting("t1") as waiter:
            EventPublisher("redis://fake").ended({"t1": {"state": "succeeded", "output": "a b"}})
            await waiter.wait(5)
        assert waiter.result == {"state": "succeeded", "output": "a b"}


async def test_a_long_result_is_left_to_the_record(server: fakeredis.FakeServer) -> None:
    waiters = CompletionWaiters()
    async with subscribed(waiters):
        with waiters.waiting("t1") as waiter:
            EventPublisher("redis://fake").ended({"t1": {"output": "x" * LONGEST_RESULT}})
            await asyncio.wait_for(waiter.wait(60), 5)
        assert waiter.result is None


async def test_all_who_wait_for_a_task_are_woken_and_no_others(
    server: fakeredis.FakeServer,
) -> None:
    waiters = CompletionWaiters()
    async with subscribed(waiters):
        with (
            waiters.waiting("t1") as first,
            waiters.waiting("t1") as second,
            waiters.waiting("t2") as other,
        ):
            EventPublisher("redis://fake").ended({"t1": {"state": "failed"}})
            await first.wait(5)
            await second.wait(5)
            await other.wait(0.05)
        assert first.result and second.result
        assert other.result is None


async def test_a_lost_subscription_wakes_everybody_to_look_again() -> None:
    waiters = CompletionWaiters()
    with waiters.waiting("t1") as waiter:
        waiters.on_message(None)
        await asyncio.wait_for(waiter.wait(60), 1)
    assert waiter.result is None


async def test_who_no_longer_waits_is_forgotten() -> None:
    waiters = CompletionWaiters()
    with waiters.waiting("t1"):
        pass
    assert not waiters._waiting


async def test_an_absent_redis_is_tried_again(
    server: fakeredis.FakeServer,
) -> None:
    server.connected = False
    waiters = CompletionWaiters()
    subscription = Subscriber("redis://fake", {ENDED: waiters.on_message})
    await subscription.start()
    try:
        await asyncio.sleep(0.05)
        assert not subscription.connected
        server.connected = True
        await until_connected(subscription)
    finally:
        await subscription.stop()


def test_a_herald_without_redis_says_so(server: fakeredis.FakeServer) -> None:
    server.connected = False
    with pytest.raises(QueueUnavailable):
        EventPublisher("redis://fake").ended({"t1": None})
