"""Wrong passwords are counted by user, cluster and address, and stop before sshd is asked."""

import asyncio

import fakeredis
import pytest

from api.state.login_throttle import FAILURE_PERIOD_SECONDS, MAX_FAILURES, LoginThrottle
from resop.errors import (
    IdentityUnknown,
    LoginRefused,
    OtpRequired,
    PasswordExpired,
    QueueUnavailable,
    ResopError,
    TooManyAttempts,
)


async def fail(throttle: LoginThrottle, fault: type[ResopError] = LoginRefused) -> None:
    with pytest.raises(fault):
        async with throttle.attempt():
            raise fault


async def test_the_sixth_login_after_five_failures_is_stopped() -> None:
    throttle = LoginThrottle(fakeredis.FakeAsyncRedis(), "ada", "hpc", "10.0.0.1")
    for number in range(MAX_FAILURES):
        kinds = LoginRefused, OtpRequired, PasswordExpired, IdentityUnknown
        await fail(throttle, kinds[number % len(kinds)])
    with pytest.raises(TooManyAttempts) as stopped:
        async with throttle.attempt():
            pytest.fail("the cluster was asked")
    assert 0 < stopped.value.details["retry_after"] <= FAILURE_PERIOD_SECONDS


async def test_of_many_at_once_no_more_are_tried_than_may_fail() -> None:
    redis = fakeredis.FakeAsyncRedis()
    asked = 0

    async def log_in() -> type[ResopError]:
        nonlocal asked
        try:
            async with LoginThrottle(redis, "ada", "hpc", "10.0.0.1").attempt():
                asked += 1
                await asyncio.sleep(0.01)
                raise LoginRefused
        except ResopError as fault:
            return type(fault)

    ends = await asyncio.gather(*(log_in() for _ in range(50)))
    assert asked == ends.count(LoginRefused) == MAX_FAILURES
    assert ends.count(TooManyAttempts) == 50 - MAX_FAILURES


async def test_good_logins_wait_for_each_other_and_are_not_counted() -> None:
    redis = fakeredis.FakeAsyncRedis()
    done = 0

    async def log_in() -> None:
        nonlocal done
        async with LoginThrottle(redis, "ada", "hpc", "10.0.0.1").attempt():
            await asyncio.sleep(0.01)
            done += 1

    await asyncio.gather(*(log_in() for _ in range(3 * MAX_FAILURES)))
    assert done == 3 * MAX_FAILURES


async def test_further_failures_do_not_prolong_the_wait() -> None:
    redis = fakeredis.FakeAsyncRedis()
    throttle = LoginThrottle(redis, "ada", "hpc", "10.0.0.1")
    await fail(throttle)
    key = "resop:login:hpc:ada:10.0.0.1"
    await redis.expire(key, 10)
    await fail(throttle)
    assert 0 < await redis.ttl(key) <= 10


@pytest.mark.parametrize(
    ("username", "cluster", "address"),
    [("bob", "hpc", "10.0.0.1"), ("ada", "other", "10.0.0.1"), ("ada", "hpc", "10.0.0.2")],
)
async def test_nobody_else_is_stopped(username: str, cluster: str, address: str) -> None:
    redis = fakeredis.FakeAsyncRedis()
    for _ in range(MAX_FAILURES):
        await fail(LoginThrottle(redis, "ada", "hpc", "10.0.0.1"))
    async with LoginThrottle(redis, username, cluster, address).attempt():
        pass
    await fail(LoginThrottle(redis, "ada", "hpc", "10.0.0.1"), TooManyAttempts)


async def test_without_redis_nobody_can_try_passwords() -> None:
    server = fakeredis.FakeServer()
    server.connected = False
    throttle = LoginThrottle(fakeredis.FakeAsyncRedis(server=server), "ada", "hpc", "10.0.0.1")
    with pytest.raises(QueueUnavailable):
        async with throttle.attempt():
            pytest.fail("the cluster was asked")
