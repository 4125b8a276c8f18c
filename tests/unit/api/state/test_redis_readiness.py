"""The answers of Redis are explained in words that an administrator can use."""

from __future__ import annotations

import asyncio

import fakeredis
import redis
from redis import exceptions

from api.state.redis_readiness import MAX_CHARACTERS, explain, redis_fault
from resop.messaging.redis_client import NoMaster

IN_PIPELINE = "Command # 1 (SET resop:ready  XX PX 1) of pipeline caused error: "


def test_each_refusal_has_its_reason() -> None:
    reasons: list[tuple[Exception, str]] = [
        (exceptions.ReadOnlyError("You can't write"), "Redis is a read-only replica"),
        (exceptions.MasterDownError("Link with MASTER is down"), "replica that has lost its"),
        (exceptions.ClusterDownError("Hash slot not served"), "the Redis cluster is down"),
        (exceptions.OutOfMemoryError("command not allowed"), "has reached its maxmemory"),
        (exceptions.BusyLoadingError("Redis is loading"), "Redis is loading its data"),
        (exceptions.NoPermissionError("no permissions"), "the Redis user may not do"),
        (exceptions.AuthenticationError("NOAUTH"), "refuses the user or password"),
        (NoMaster("mymaster"), "no sentinel names a master that is up"),
        (redis.TimeoutError("Timeout"), "Redis does not answer"),
        (redis.ConnectionError("refused"), "Redis cannot be reached"),
        (OSError("no route"), "Redis cannot be reached"),
        (redis.ResponseError("MISCONF Redis is configured"), "cannot save its data to disk"),
        (redis.ResponseError("NOREPLICAS Not enough good"), "fewer replicas than its min-replicas"),
        (redis.ResponseError("BUSY Redis is busy running"), "Redis is busy with a script"),
        (redis.ResponseError("WRONGTYPE x"), "Redis refuses what it is asked: WRONGTYPE x"),
    ]
    for fault, reason in reasons:
        assert reason in explain(fault), repr(fault)
        if type(fault) is redis.ResponseError:
            assert reason in explain(redis.ResponseError(f"{IN_PIPELINE}{fault}"))
            assert reason in explain(redis.ResponseError(f"{IN_PIPELINE}{fault.args}"))
    for cause, reason in reasons[-4:-1] + reasons[6:7]:
        while_connecting = redis.ConnectionError(cause)
        while_connecting.__cause__ = cause
        assert reason in explain(while_connecting)
    assert len(explain(redis.ResponseError("x" * 9999))) < MAX_CHARACTERS + 50


def test_good_redis_has_no_fault_and_nothing_is_written() -> None:
    async def ask() -> tuple[str | None, object]:
        client = fakeredis.FakeAsyncRedis()
        return await redis_fault(client), await client.keys()

    assert asyncio.run(ask()) == (None, [])
