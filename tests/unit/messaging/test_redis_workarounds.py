"""A cancellation is never lost while a command is sent to Redis."""

import asyncio
from typing import Any

import fakeredis
import pytest
from redis.asyncio.connection import AbstractConnection

import resop.messaging.redis_client  # noqa: F401  # mends the connections


async def test_a_cancellation_that_arrives_as_the_sending_ends_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = fakeredis.FakeAsyncRedis()
    went_on = False
    send = AbstractConnection._send_packed_command

    async def set_and_go_on() -> None:
        nonlocal went_on
        await client.set("key", "value")
        await asyncio.sleep(0)  # a cancellation that is not lost arrives here at the latest
        went_on = True

    async def send_and_cancel(self: Any, command: Any) -> None:
        await send(self, command)
        caller.cancel()

    await client.ping()
    caller = asyncio.create_task(set_and_go_on())
    with monkeypatch.context() as patch:
        patch.setattr(AbstractConnection, "_send_packed_command", send_and_cancel)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(caller, 5)
    assert not went_on
    assert await client.get("key") in (b"value", None), "the answer of another command"


async def test_a_cancellation_before_it_does_not_end_the_sending() -> None:
    client = fakeredis.FakeAsyncRedis()

    async def clean_up_after_a_cancellation() -> bytes | str | None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await client.set("key", "cleaned up")
        return await client.get("key")

    task = asyncio.create_task(clean_up_after_a_cancellation())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == b"cleaned up"
