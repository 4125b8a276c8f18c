"""Wrong passwords are counted by user, cluster and address, and stop before sshd is asked."""

import asyncio

import fakeredis
import pytest

from api.breaker import FAILURES, PERIOD_SECONDS, Breaker
from resop.errors import QueueUnavailable, TooManyAttempts


async def test_the_sixth_login_after_five_failures_is_stopped() -> None:
    redis = fakeredis.FakeAsyncRedis()
    breaker = Breaker(redis, "ada", "hpc", "10.0.0.1")
    for _ in range(FAILURES):
        await breaker.check()
        await breaker.failed()
    with pytest.raises(TooManyAttempts) as stopped:
        await breaker.check()
    assert 0 < stopped.value.details["retry_after"] <= PERIOD_SECONDS


async def test_further_failures_do_not_prolong_the_wait() -> None:
    redis = fakeredis.FakeAsyncRedis()
    breaker = Breaker(redis, "ada", "hpc", "10.0.0.1")
    await breaker.failed()
    [key] = await redis.keys()
    await redis.expire(key, 10)
    await breaker.failed()
    assert await redis.ttl(key) <= 10


@pytest.mark.parametrize(
    ("username", "cluster", "address"),
    [("bob", "hpc", "10.0.0.1"), ("ada", "other", "10.0.0.1"), ("ada", "hpc", "10.0.0.2")],
)
async def test_nobody_else_is_stopped(username: str, cluster: str, address: str) -> None:
    redis = fakeredis.FakeAsyncRedis()
    for _ in range(FAILURES):
        await Breaker(redis, "ada", "hpc", "10.0.0.1").failed()
    await Breaker(redis, username, cluster, address).check()
    with pytest.raises(TooManyAttempts):
        await Breaker(redis, "ada", "hpc", "10.0.0.1").check()


async def test_without_redis_nobody_can_try_passwords() -> None:
    server = fakeredis.FakeServer()
    server.connected = False
    breaker = Breaker(fakeredis.FakeAsyncRedis(server=server), "ada", "hpc", "10.0.0.1")
    with pytest.raises(QueueUnavailable):
        await breaker.check()


async def test_of_many_logins_at_once_five_are_let_through_when_they_fail() -> None:
    redis = fakeredis.FakeAsyncRedis()
    tried = 0

    async def log_in() -> None:
        nonlocal tried
        breaker = Breaker(redis, "ada", "hpc", "10.0.0.1")
        async with breaker.attempt():
            tried += 1
            await asyncio.sleep(0.05)
            await breaker.failed()

    answers = await asyncio.gather(*(log_in() for _ in range(60)), return_exceptions=True)
    assert tried == FAILURES
    assert sum(isinstance(each, TooManyAttempts) for each in answers) == 60 - FAILURES


async def test_logins_that_succeed_are_never_stopped() -> None:
    redis = fakeredis.FakeAsyncRedis()

    async def log_in() -> None:
        async with Breaker(redis, "ada", "hpc", "10.0.0.1").attempt():
            await asyncio.sleep(0.01)

    await asyncio.gather(*(log_in() for _ in range(12)))
