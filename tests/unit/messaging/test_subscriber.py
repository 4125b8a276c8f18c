"""One subscription: good messages arrive, whatever else does, and gaps are reported."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import fakeredis
import pytest
import redis

from api.state.task_waiters import CompletionWaiters
from resop.errors import QueueUnavailable
from resop.messaging import subscriber as module
from resop.messaging.messages import (
    KINDS,
    MAX_MESSAGE_BYTES,
    MAX_RESULT_CHARACTERS,
    BatchReady,
    CancelRequested,
    LoggedOut,
    LoginAccepted,
    LoginOffer,
    LoginRequest,
    LoginResult,
    Message,
    Resync,
    TaskEnded,
    TasksChanged,
    encode,
)
from resop.messaging.publisher import EventPublisher, publish
from resop.messaging.redis_client import EncryptingRedis, connect_async
from resop.messaging.subscriber import Subscriber
from resop.security.encryption import Encryptor
from resop.security.message_encryption import MessageEncryptor
from tests.unit.messaging.test_messages import GARBAGE

KEYS = Encryptor(b"k" * 40).message_keys
OTHER_KEYS = Encryptor(b"o" * 40).message_keys
GOOD: list[Message] = [
    TaskEnded("t1", result={"state": "succeeded"}),
    TasksChanged(["t1", "t2"]),
    CancelRequested("t1"),
    BatchReady(),
    LoggedOut("c"),
    LoginOffer("l", "hpc", "ab"),
    LoginAccepted("l", "w1", "cd"),
    LoginRequest("l", "w1", "ef"),
    LoginResult("l", "01"),
]


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
    monkeypatch.setattr(module, "RECONNECT_SECONDS", 0.01)
    monkeypatch.setattr(module, "PING_SECONDS", 0.05)
    return server


def service_client() -> EncryptingRedis:
    """Return a client of the fake Redis that publishes as a process of the service does."""
    return connect_async("redis://fake", KEYS)


async def until(condition: Callable[[], object]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 5 s")


@contextlib.asynccontextmanager
async def started(subscriber: Subscriber) -> AsyncIterator[None]:
    await subscriber.start()
    try:
        await until(lambda: subscriber.connected)
        yield
    finally:
        await subscriber.stop()


def everything() -> tuple[Subscriber, list[Message]]:
    """Return a subscriber to all kinds of messages, and the list that receives them."""
    subscriber, received = Subscriber("redis://fake", KEYS), list[Message]()
    for kind in KINDS:
        if kind is LoginRequest:
            subscriber.on(LoginRequest, received.append, channel="resop:worker.w1")
        elif kind is not Resync:
            subscriber.on(kind, received.append)
    return subscriber, received


async def test_each_message_arrives_at_its_callback_and_no_other(
    server: fakeredis.FakeServer,
) -> None:
    subscriber, received = everything()
    async with started(subscriber):
        assert received == [Resync()] * len(GOOD)
        received.clear()
        EventPublisher("redis://fake", KEYS).publish(*GOOD)
        await until(lambda: len(received) == len(GOOD))
    assert sorted(map(str, received)) == sorted(map(str, GOOD))


SHORT_GARBAGE = {name: each for name, each in GARBAGE.items() if len(each) <= MAX_MESSAGE_BYTES}


@pytest.mark.parametrize("garbage", SHORT_GARBAGE.values(), ids=SHORT_GARBAGE)
async def test_garbage_of_this_service_is_logged_and_the_next_message_arrives(
    server: fakeredis.FakeServer, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """As another release might send it."""
    subscriber, received = everything()
    client = service_client()
    async with started(subscriber):
        received.clear()
        for message in GOOD:
            encrypted = client.message_encryptor.encrypt(message.channel, garbage)
            await client.publish(message.channel, encrypted)
            await publish(client, message)
        await until(lambda: len(received) == len(GOOD))
        assert received == GOOD
        assert subscriber.connected
    assert not subscriber.refusals.counts
    skipped = [each.message for each in caplog.records if "malformed" in each.message]
    assert len(skipped) == len(GOOD)
    assert all(len(each) < 200 for each in skipped)
    await client.aclose()


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_of_anybody_is_refused_and_the_next_message_arrives(
    server: fakeredis.FakeServer, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    subscriber, received = everything()
    client = service_client()
    async with started(subscriber):
        received.clear()
        for message in GOOD * 3:
            await client.publish(message.channel, garbage)
            await publish(client, message)
        await until(lambda: len(received) == 3 * len(GOOD))
        assert received == GOOD * 3
        assert subscriber.connected
    channels = Counter(message.channel for message in GOOD * 3)
    assert subscriber.refusals.counts == channels
    refused = [each for each in caplog.messages if "refused" in each]
    assert len(refused) == len(channels), "one line for each channel, not for each message"
    assert all(len(each) < 200 for each in refused)
    await client.aclose()


async def test_forged_message_changes_nothing(server: fakeredis.FakeServer) -> None:
    """Whatever its form: as JSON, under another key, or taken from another channel."""
    subscriber, received = everything()
    client, stranger = service_client(), MessageEncryptor(OTHER_KEYS)
    forged = TaskEnded("t1", result={"state": "succeeded", "output": "FORGED"})
    async with started(subscriber):
        received.clear()
        for message in (forged, *GOOD):
            await client.publish(message.channel, encode(message))
            await client.publish(
                message.channel, stranger.encrypt(message.channel, encode(message))
            )
            elsewhere = client.message_encryptor.encrypt("resop:other", encode(message))
            await client.publish(message.channel, elsewhere)
        await publish(client, BatchReady())
        await until(lambda: received)
    assert received == [BatchReady()]
    assert subscriber.refusals.counts.total() == 3 * (1 + len(GOOD))
    await client.aclose()


async def test_recorded_messages_that_are_sent_again_change_nothing(
    server: fakeredis.FakeServer,
) -> None:
    subscriber, received = everything()
    eavesdropper, client = fakeredis.FakeAsyncRedis(server=server), service_client()
    async with started(subscriber), eavesdropper.pubsub() as tap:
        await tap.psubscribe("*")
        received.clear()
        for message in GOOD:
            await publish(client, message)
        await until(lambda: len(received) == len(GOOD))
        recorded = list[tuple[str, bytes]]()
        while len(recorded) < len(GOOD):
            heard = await tap.get_message(timeout=5)
            if heard and heard["type"] == "pmessage":
                recorded.append((heard["channel"], heard["data"]))
        for channel, data in recorded * 2:
            await eavesdropper.publish(channel, data)
        await publish(client, BatchReady())
        await until(lambda: len(received) > len(GOOD))
    assert received == [*GOOD, BatchReady()]
    assert subscriber.refusals.counts.total() == 2 * len(GOOD)
    for aclose in (client.aclose, eavesdropper.aclose):
        await aclose()


async def test_change_of_the_secret_key_loses_no_message(server: fakeredis.FakeServer) -> None:
    """Processes that know both keys understand processes that know only the old one."""
    changed = Encryptor(b"n" * 40, b"k" * 40).message_keys
    subscriber, received = Subscriber("redis://fake", changed), list[Message]()
    subscriber.on(LoggedOut, received.append)
    async with started(subscriber):
        received.clear()
        EventPublisher("redis://fake", KEYS).publish(LoggedOut("old"))
        EventPublisher("redis://fake", changed).publish(LoggedOut("new"))
        EventPublisher("redis://fake", OTHER_KEYS).publish(LoggedOut("other"))
        EventPublisher("redis://fake", KEYS).publish(LoggedOut("last"))
        await until(lambda: len(received) == 3)
    assert received == [LoggedOut("old"), LoggedOut("new"), LoggedOut("last")]


async def test_message_on_the_channel_of_another_kind_is_skipped(
    server: fakeredis.FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    subscriber, received = everything()
    client = service_client()
    async with started(subscriber):
        received.clear()
        wrong = client.message_encryptor.encrypt(LoggedOut.CHANNEL, encode(CancelRequested("t1")))
        await client.publish(LoggedOut.CHANNEL, wrong)
        await publish(client, LoggedOut("c"))
        await until(lambda: received)
    assert received[0] == LoggedOut("c")
    assert "skipped a CancelRequested on resop:logged-out" in caplog.messages
    await client.aclose()


async def test_callback_that_raises_stops_neither_the_others_nor_the_subscription(
    server: fakeredis.FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(message: BatchReady | Resync) -> None:
        raise ZeroDivisionError

    subscriber, received = Subscriber("redis://fake", KEYS), list[Message]()
    subscriber.on(BatchReady, fail)
    subscriber.on(BatchReady, received.append)
    async with started(subscriber):
        for _ in range(3):
            EventPublisher("redis://fake", KEYS).publish(BatchReady())
        await until(lambda: received == [Resync(), *[BatchReady()] * 3])
        assert subscriber.connected
    assert caplog.messages.count("the callback for a BatchReady failed") == 3


async def test_resync_that_is_published_reaches_its_channel_alone(
    server: fakeredis.FakeServer,
) -> None:
    ended, logged_out = list[Message](), list[Message]()
    subscriber = Subscriber("redis://fake", KEYS)
    subscriber.on(TaskEnded, ended.append)
    subscriber.on(LoggedOut, logged_out.append)
    async with started(subscriber):
        EventPublisher("redis://fake", KEYS).publish(Resync(), LoggedOut("c"))
        await until(lambda: len(logged_out) == 2)
    assert ended == [Resync(), Resync()]
    assert logged_out == [Resync(), LoggedOut("c")]


async def test_absent_redis_is_tried_again_and_waiters_look_meanwhile(
    server: fakeredis.FakeServer,
) -> None:
    server.connected = False
    subscriber, received = Subscriber("redis://fake", KEYS), list[Message]()
    subscriber.on(TaskEnded, received.append)
    await subscriber.start()
    try:
        await until(lambda: len(received) > 2)
        assert not subscriber.connected
        assert set(received) == {Resync()}
        server.connected = True
        await until(lambda: subscriber.connected)
    finally:
        await subscriber.stop()
    assert not subscriber.connected


async def test_silent_connection_is_lost(
    server: fakeredis.FakeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As when the other machine is gone: nothing arrives, not even the answer to a ping."""
    subscriber, received = Subscriber("redis://fake", KEYS), list[Message]()
    subscriber.on(TaskEnded, received.append)
    async with started(subscriber):
        received.clear()
        silence = asyncio.Event()

        async def nothing(self: object, timeout: float = 0, **_: object) -> None:
            silence.set()
            await asyncio.sleep(timeout)

        async def ping(self: object) -> None: ...

        with monkeypatch.context() as gone:
            gone.setattr(redis.asyncio.client.PubSub, "get_message", nothing)
            gone.setattr(redis.asyncio.client.PubSub, "ping", ping)
            await asyncio.wait_for(silence.wait(), 5)
            await until(lambda: not subscriber.connected)
            assert Resync() in received
        await until(lambda: subscriber.connected)
    assert "not subscribed to Redis: TimeoutError" in caplog.messages


async def test_quiet_connection_that_answers_is_kept(
    server: fakeredis.FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    subscriber, received = Subscriber("redis://fake", KEYS), list[Message]()
    subscriber.on(TaskEnded, received.append)
    async with started(subscriber):
        await asyncio.sleep(0.5)
        assert subscriber.connected and received == [Resync()]
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


async def test_stop_ends_a_subscription_that_swallows_a_cancellation(
    server: fakeredis.FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscriber, swallowed = Subscriber("redis://fake", KEYS), list[bool]()
    subscriber.on(BatchReady, lambda _: None)
    original = redis.asyncio.client.PubSub.get_message

    async def swallow_once(*arguments: Any, **options: Any) -> Any:
        try:
            return await original(*arguments, **options)
        except asyncio.CancelledError:
            if swallowed:
                raise
            swallowed.append(True)
            return None

    monkeypatch.setattr(redis.asyncio.client.PubSub, "get_message", swallow_once)
    await subscriber.start()
    await until(lambda: subscriber.connected)
    async with asyncio.timeout(10):
        await subscriber.stop()
    assert swallowed == [True]


async def test_fault_of_the_library_does_not_end_the_subscription(
    server: fakeredis.FakeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    subscriber, received = Subscriber("redis://fake", KEYS), list[Message]()
    subscriber.on(BatchReady, received.append)

    async def broken(*_: object, **__: object) -> None:
        raise EOFError

    async with started(subscriber):
        with monkeypatch.context() as broken_library:
            broken_library.setattr(redis.asyncio.client.PubSub, "get_message", broken)
            await until(lambda: not subscriber.connected)
        await until(lambda: subscriber.connected)
        EventPublisher("redis://fake", KEYS).publish(BatchReady())
        await until(lambda: received[-1] == BatchReady())
    assert "not subscribed to Redis: a fault of the service" in caplog.messages


# -- waiters


async def test_waiters_of_a_task_are_woken_with_its_result_and_no_others(
    server: fakeredis.FakeServer,
) -> None:
    waiters, subscriber = CompletionWaiters(), Subscriber("redis://fake", KEYS)
    subscriber.on(TaskEnded, waiters.on_task_ended)
    result = {"state": "succeeded", "output": "a b"}
    async with started(subscriber):
        with (
            waiters.waiting("t1") as first,
            waiters.waiting("t1") as second,
            waiters.waiting("t2") as other,
        ):
            EventPublisher("redis://fake", KEYS).publish(TaskEnded("t1", result=result))
            await first.wait(5)
            await second.wait(5)
            await other.wait(0.05)
        assert first.result == second.result == result
        assert other.result is None


@pytest.mark.parametrize(
    "result",
    [
        {"state": "failed", "output": "x" * MAX_RESULT_CHARACTERS},
        {"state": "running"},
        {"state": ["failed"]},
        {"output": "x"},
        {},
    ],
)
async def test_result_that_is_long_or_not_final_is_left_to_the_database(
    server: fakeredis.FakeServer, result: dict[str, object]
) -> None:
    waiters, subscriber = CompletionWaiters(), Subscriber("redis://fake", KEYS)
    subscriber.on(TaskEnded, waiters.on_task_ended)
    async with started(subscriber):
        with waiters.waiting("t1") as waiter:
            EventPublisher("redis://fake", KEYS).publish(TaskEnded("t1", result=result))
            await asyncio.wait_for(waiter.wait(60), 5)
        assert waiter.result is None


async def test_resync_wakes_all_waiters() -> None:
    waiters = CompletionWaiters()
    with waiters.waiting("t1") as waiter:
        waiters.on_task_ended(Resync())
        await asyncio.wait_for(waiter.wait(60), 1)
    assert waiter.result is None


async def test_waiter_that_has_left_is_removed() -> None:
    waiters = CompletionWaiters()
    with waiters.waiting("t1"):
        pass
    assert not waiters._waiting


# -- publish


async def test_publishing_without_redis_raises(server: fakeredis.FakeServer) -> None:
    server.connected = False
    with pytest.raises(QueueUnavailable):
        EventPublisher("redis://fake", KEYS).publish(TaskEnded("t1"))
    with pytest.raises(QueueUnavailable):
        await publish(service_client(), LoggedOut("c"))
