"""Wrong passwords are counted by user, address, cluster and in all, before sshd is asked."""

import asyncio
import time
from dataclasses import replace

import fakeredis
import pytest

from api.state import login_limits, login_throttle
from api.state.login_counters import LoginCounters, new_attempt
from api.state.login_limits import (
    ADDRESS,
    CLUSTER,
    KNOWN_PAIR,
    PAIR,
    SERVICE,
    TOKENS,
    USER,
    Source,
    counters,
)
from api.state.login_throttle import LoginThrottle
from resop.errors import (
    IdentityUnknown,
    LimitReached,
    LoginRefused,
    OtpRequired,
    PasswordExpired,
    QueueUnavailable,
    ResopError,
    TooManyAttempts,
)
from resop.security.encryption import Encryptor
from resop.ssh.handshake_queue import Rank

pytestmark = pytest.mark.slow

HERE = "10.0.0.1"
ENCRYPTOR = Encryptor(b"a secret key of this test, long enough")


@pytest.fixture
def throttle() -> LoginThrottle:
    return LoginThrottle(fakeredis.FakeAsyncRedis(), ENCRYPTOR)


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every pause so long that a login is refused where it would wait."""
    names = ("KNOWN_PAIR", "EARLIER_LOGIN", "KNOWN_USER", "KNOWN_AT_ADDRESS")
    for name in (*names, "USER", "ADDRESS", "CLUSTER", "SERVICE", "TOKENS"):
        slow = replace(getattr(login_limits, name), pause=60, longest_pause=60)
        monkeypatch.setattr(login_limits, name, slow)


def key_of(counter: str) -> str:
    return f"resop:login:{ENCRYPTOR.digest('login', counter)}"


async def fail(
    throttle: LoginThrottle,
    user: str | None = "ada",
    address: str = HERE,
    cluster: str = "hpc",
    fault: type[ResopError] = LoginRefused,
) -> str:
    """Try a wrong password; return `asked` if the cluster was asked, else the limit's name."""
    try:
        async with throttle.attempt(user, cluster, address):
            raise fault
    except TooManyAttempts as refused:
        assert refused.details["retry_after"] >= 1
        return str(refused.details["limit"])
    except fault:
        return "asked"


async def succeed(
    throttle: LoginThrottle, user: str = "ada", address: str = HERE, cluster: str = "hpc"
) -> Rank:
    async with throttle.attempt(user, cluster, address) as turn:
        return turn.rank


# -- one user from one address --------------------------------------------------------------


async def test_the_sixth_login_after_five_failures_is_stopped(throttle: LoginThrottle) -> None:
    for number in range(PAIR.failures):
        kinds = LoginRefused, OtpRequired, PasswordExpired, IdentityUnknown
        assert await fail(throttle, fault=kinds[number % len(kinds)]) == "asked"
    with pytest.raises(TooManyAttempts) as stopped:
        await succeed(throttle)
    assert 0 < stopped.value.details["retry_after"] <= PAIR.seconds
    assert "of this user from this address" in stopped.value.message


async def test_of_many_at_once_no_more_are_tried_than_may_fail(throttle: LoginThrottle) -> None:
    asked = 0

    async def log_in() -> type[ResopError]:
        nonlocal asked
        try:
            async with throttle.attempt("ada", "hpc", HERE):
                asked += 1
                await asyncio.sleep(0.01)
                raise LoginRefused
        except ResopError as fault:
            return type(fault)

    ends = await asyncio.gather(*(log_in() for _ in range(50)))
    assert asked == ends.count(LoginRefused) == PAIR.failures
    # On a busy machine some of them have waited for too long.
    assert set(ends) - {LimitReached} == {LoginRefused, TooManyAttempts}


async def test_good_logins_wait_for_each_other_and_are_not_counted(
    throttle: LoginThrottle,
) -> None:
    done = 0

    async def log_in() -> None:
        nonlocal done
        async with throttle.attempt("ada", "hpc", HERE):
            await asyncio.sleep(0.01)
            done += 1

    await asyncio.gather(*(log_in() for _ in range(3 * PAIR.failures)))
    assert done == 3 * PAIR.failures


async def test_further_failures_do_not_prolong_the_wait() -> None:
    redis = fakeredis.FakeAsyncRedis()
    throttle = LoginThrottle(redis, ENCRYPTOR)
    await fail(throttle)
    key = key_of(f"pair:hpc:ada:{HERE}")
    await redis.expire(key, 10)
    await fail(throttle)
    assert 0 < await redis.ttl(key) <= 10


@pytest.mark.parametrize(
    ("username", "cluster", "address"),
    [("bob", "hpc", HERE), ("ada", "other", HERE), ("ada", "hpc", "10.0.0.2")],
)
async def test_nobody_else_is_stopped(
    throttle: LoginThrottle, username: str, cluster: str, address: str
) -> None:
    for _ in range(PAIR.failures):
        await fail(throttle)
    assert await succeed(throttle, username, address, cluster) is Rank.STRANGER
    assert await fail(throttle) == PAIR.name


async def test_without_redis_nobody_can_try_passwords() -> None:
    server = fakeredis.FakeServer()
    server.connected = False
    throttle = LoginThrottle(fakeredis.FakeAsyncRedis(server=server), ENCRYPTOR)
    with pytest.raises(QueueUnavailable):
        async with throttle.attempt("ada", "hpc", HERE):
            pytest.fail("the cluster was asked")


async def test_good_login_is_not_refused_because_redis_went_away_meanwhile() -> None:
    server = fakeredis.FakeServer()
    throttle = LoginThrottle(fakeredis.FakeAsyncRedis(server=server), ENCRYPTOR)
    async with throttle.attempt("ada", "hpc", HERE):
        server.connected = False
    server.connected = True
    with pytest.raises(QueueUnavailable):  # a failure that is not counted would be a free guess
        async with throttle.attempt("ada", "hpc", HERE):
            server.connected = False
            raise LoginRefused


async def test_two_processes_count_together() -> None:
    server = fakeredis.FakeServer()
    throttles = [
        LoginThrottle(fakeredis.FakeAsyncRedis(server=server), ENCRYPTOR) for _ in range(2)
    ]
    outcomes = [await fail(throttles[number % 2]) for number in range(PAIR.failures + 2)]
    assert outcomes.count("asked") == PAIR.failures


async def test_attempts_of_a_process_that_died_are_forgotten() -> None:
    redis = fakeredis.FakeAsyncRedis()
    throttle = LoginThrottle(redis, ENCRYPTOR)
    key = key_of(f"pair:hpc:ada:{HERE}") + ":trying"
    await redis.rpush(key, *(f"1700000000:dead-{number}" for number in range(PAIR.failures)))
    assert await succeed(throttle) is Rank.STRANGER
    assert await redis.llen(key) == 0


# -- attacks --------------------------------------------------------------------------------


@pytest.mark.usefixtures("_no_waiting")
async def test_one_password_for_many_names_is_stopped_by_address(throttle: LoginThrottle) -> None:
    outcomes = [await fail(throttle, f"user{number}") for number in range(60)]
    assert outcomes.count("asked") == ADDRESS.failures
    assert outcomes.count("address") == 60 - ADDRESS.failures


@pytest.mark.usefixtures("_no_waiting")
async def test_of_many_names_at_once_few_are_tried(throttle: LoginThrottle) -> None:
    busy = most = 0

    async def guess(number: int) -> str:
        nonlocal busy, most
        try:
            async with throttle.attempt(f"user{number}", "hpc", HERE):
                busy += 1
                most = max(most, busy)
                await asyncio.sleep(0.01)
                busy -= 1
                raise LoginRefused
        except ResopError as fault:
            return type(fault).__name__

    ends = await asyncio.gather(*(guess(number) for number in range(150)))
    assert ADDRESS.at_once is not None and most <= ADDRESS.at_once
    assert ends.count("LoginRefused") == ADDRESS.failures
    assert set(ends) == {"LoginRefused", "TooManyAttempts", "LimitReached"}


@pytest.mark.usefixtures("_no_waiting")
async def test_addresses_of_one_ipv6_network_are_one(throttle: LoginThrottle) -> None:
    outcomes = [await fail(throttle, address=f"2001:db8::{number:x}") for number in range(1, 60)]
    assert outcomes.count("asked") == PAIR.failures
    assert await succeed(throttle, address="2001:db8:0:1::1") is Rank.STRANGER


@pytest.mark.usefixtures("_no_waiting")
async def test_ways_to_write_an_address_are_one(throttle: LoginThrottle) -> None:
    ways = [HERE, f"::ffff:{HERE}", "::ffff:a00:1", "64:ff9b::a00:1", f"{HERE}:1234"]
    outcomes = [await fail(throttle, address=ways[number % 5]) for number in range(10)]
    assert outcomes.count("asked") == PAIR.failures


@pytest.mark.usefixtures("_no_waiting")
async def test_spellings_of_one_name_are_one(throttle: LoginThrottle) -> None:
    spellings = ["bob:1", "BOB", "bo\u00adb", "\uff42\uff4f\uff42", "bob/x", "bob@example.org"]
    outcomes = [await fail(throttle, spellings[number % 6]) for number in range(40)]
    assert outcomes.count("asked") == PAIR.failures


@pytest.mark.usefixtures("_no_waiting")
async def test_one_user_from_many_addresses_is_stopped_by_user(throttle: LoginThrottle) -> None:
    outcomes = [await fail(throttle, address=f"10.1.0.{number}") for number in range(60)]
    assert outcomes.count("asked") == USER.failures
    assert outcomes.count("user") == 60 - USER.failures


@pytest.mark.usefixtures("_no_waiting")
async def test_many_users_from_many_addresses_are_stopped_by_cluster(
    throttle: LoginThrottle,
) -> None:
    outcomes = [await fail(throttle, f"user{n}", f"10.1.0.{n}") for n in range(100)]
    assert outcomes.count("asked") == CLUSTER.failures
    assert outcomes.count("cluster") == 100 - CLUSTER.failures
    assert await fail(throttle, "eve", "10.2.0.1", "other") == "asked"


@pytest.mark.usefixtures("_no_waiting")
async def test_many_clusters_are_stopped_in_all(throttle: LoginThrottle) -> None:
    outcomes = [
        await fail(throttle, f"user{n}", f"10.1.{n // 250}.{n % 250}", f"hpc{n % 10}")
        for n in range(SERVICE.failures + 20)
    ]
    assert outcomes.count("asked") == SERVICE.failures
    assert outcomes.count("service") == 20


@pytest.mark.usefixtures("_no_waiting")
async def test_forged_tokens_are_stopped_by_address_and_stop_no_passwords(
    throttle: LoginThrottle,
) -> None:
    outcomes = [await fail(throttle, None) for _ in range(TOKENS.failures + 10)]
    assert outcomes.count("asked") == TOKENS.failures
    assert await succeed(throttle) is Rank.STRANGER


# -- users who have logged in before --------------------------------------------------------


@pytest.mark.usefixtures("_no_waiting")
async def test_failures_elsewhere_do_not_stop_a_user_at_a_known_address(
    throttle: LoginThrottle,
) -> None:
    await succeed(throttle)
    for number in range(CLUSTER.failures + 10):
        await fail(throttle, address=f"10.1.0.{number}")
    for number in range(CLUSTER.failures + 10):
        await fail(throttle, f"user{number}", f"10.2.0.{number}")
    assert await fail(throttle, address="10.3.0.1") in ("user", "cluster")
    assert await succeed(throttle) is Rank.KNOWN
    assert await fail(throttle) == "asked"


@pytest.mark.usefixtures("_no_waiting")
async def test_a_shared_address_is_no_lever_against_its_users(throttle: LoginThrottle) -> None:
    users = [f"colleague{number}" for number in range(10)]
    for user in users:
        await succeed(throttle, user)
    outcomes = [await fail(throttle, f"name{number}") for number in range(150)]
    budget = ADDRESS.failures + 10 * login_limits.FAILURES_PER_GOOD_USER
    assert outcomes.count("asked") == min(budget, CLUSTER.failures)
    for user in users:
        assert await succeed(throttle, user) is Rank.KNOWN


async def test_wrong_passwords_of_somebody_else_only_delay_a_known_user(
    throttle: LoginThrottle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_limits, "KNOWN_PAIR", replace(KNOWN_PAIR, pause=0.3))
    await succeed(throttle)
    for _ in range(PAIR.failures):
        assert await fail(throttle) == "asked"
    began = time.monotonic()
    assert await succeed(throttle) is Rank.KNOWN
    assert time.monotonic() - began > 0.1


@pytest.mark.usefixtures("_no_waiting")
async def test_guesses_at_a_known_address_become_slow(throttle: LoginThrottle) -> None:
    await succeed(throttle)
    outcomes = [await fail(throttle) for _ in range(40)]
    assert outcomes.count("asked") == PAIR.failures
    pauses = [KNOWN_PAIR.pause_after(failures, 5) for failures in (4, 5, 6, 7, 8, 9, 99)]
    assert pauses == [0, 2, 4, 8, 16, 30, 30]


@pytest.mark.usefixtures("_no_waiting")
async def test_a_client_with_an_earlier_token_has_a_budget_of_its_own(
    throttle: LoginThrottle,
) -> None:
    await succeed(throttle)
    for _ in range(20):
        await fail(throttle)
    assert await fail(throttle) == KNOWN_PAIR.name
    async with throttle.attempt("ada", "hpc", HERE, "login-1") as turn:
        assert turn.rank is Rank.KNOWN
    for number in range(PAIR.failures + 1):
        with pytest.raises(LoginRefused if number < PAIR.failures else TooManyAttempts):
            async with throttle.attempt("ada", "hpc", HERE, "login-1"):
                raise LoginRefused
    async with throttle.attempt("ada", "hpc", HERE, "login-2"):
        pass


async def test_only_the_user_who_logged_in_is_known(throttle: LoginThrottle) -> None:
    await succeed(throttle)
    assert await succeed(throttle) is Rank.KNOWN
    assert await succeed(throttle, "bob") is Rank.STRANGER
    assert await succeed(throttle, address="10.0.0.2") is Rank.STRANGER
    assert await succeed(throttle, cluster="other") is Rank.STRANGER


async def test_a_refused_login_makes_nobody_known(throttle: LoginThrottle) -> None:
    await fail(throttle)
    assert await succeed(throttle) is Rank.STRANGER


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    redis = fakeredis.FakeAsyncRedis()
    throttle = LoginThrottle(redis, ENCRYPTOR)
    for number in range(60):
        await succeed(throttle, address=f"10.0.0.{number}")
        await succeed(throttle, f"user{number}", "10.9.9.9")
    sizes = []
    for key in await redis.keys("resop:login:*"):
        sizes.append(await redis.zcard(key))
        assert await redis.ttl(key) > 0
    assert sorted(sizes)[-2:] == [50, 60]
    assert await succeed(throttle, address="10.0.0.59") is Rank.KNOWN
    assert await succeed(throttle, address="10.0.0.0") is Rank.STRANGER


# -- waiting --------------------------------------------------------------------------------


async def test_too_many_waiting_logins_are_refused_at_once(throttle: LoginThrottle) -> None:
    done = asyncio.Event()

    async def occupy(number: int) -> None:
        async with throttle.attempt(f"user{number}", "hpc", HERE):
            await done.wait()

    busy = [asyncio.create_task(occupy(number)) for number in range(ADDRESS.at_once or 0)]
    waiting = [
        asyncio.create_task(occupy(number))
        for number in range(100, 110 + login_throttle.WAITING_AT_ADDRESS)
    ]
    refused, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION, timeout=10)
    assert refused and all(isinstance(each.exception(), LimitReached) for each in refused)
    # Another address has its own room.
    assert await asyncio.wait_for(succeed(throttle, "bob", "10.0.0.2"), 10) is Rank.STRANGER
    for each in (*busy, *waiting):
        each.cancel()
    await asyncio.gather(*busy, *waiting, return_exceptions=True)


async def test_cancelled_logins_leave_nothing_behind() -> None:
    redis = fakeredis.FakeAsyncRedis()
    throttle = LoginThrottle(redis, ENCRYPTOR)

    async def occupy() -> None:
        async with throttle.attempt("ada", "hpc", HERE):
            await asyncio.Event().wait()

    logins = [asyncio.create_task(occupy()) for _ in range(10)]
    await asyncio.sleep(0.2)
    for each in logins:
        each.cancel()
    await asyncio.gather(*logins, return_exceptions=True)
    assert [key async for key in redis.scan_iter("*:trying")] == []


async def test_clocks_of_processes_may_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    counters_of_all = LoginCounters(fakeredis.FakeAsyncRedis(), ENCRYPTOR)
    pair = counters(Source.of("ada", "hpc", HERE), False, 0)[:1]
    for number in range(PAIR.failures + 1):
        # Each process is slower than the ones before.
        monkeypatch.setattr(time, "time", lambda number=number: 1_700_000_000.0 - number)
        [verdict] = await counters_of_all.enter(pair, new_attempt())
        assert verdict.admits is (number < PAIR.failures)


async def test_a_reader_of_redis_learns_no_name_and_no_address() -> None:
    redis = fakeredis.FakeAsyncRedis()
    throttle = LoginThrottle(redis, ENCRYPTOR)
    await succeed(throttle)
    await fail(throttle)
    await fail(throttle, "bob", "10.9.9.9")
    found = str(await redis.keys())
    for key in await redis.keys():
        if await redis.type(key) == b"zset":
            found += str(await redis.zrange(key, 0, -1))
    assert "resop:login:" in found
    assert not any(text in found for text in ("'ada'", ":ada", "bob", HERE, "10.9.9.9", "hpc"))
