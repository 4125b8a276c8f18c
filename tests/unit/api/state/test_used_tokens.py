"""An ID token is good for one login; if the cluster fails, for another try."""

import time
from typing import Any

import fakeredis
import pytest

from api.state.openid import VerifiedToken
from api.state.openid_claims import NamedUser
from api.state.used_tokens import UsedTokens
from resop.errors import ClusterUnreachable, LoginRefused


def token(fingerprint: str = "f", seconds: float = 300) -> VerifiedToken:
    until = time.time() + seconds
    return VerifiedToken(NamedUser("alice", 1000), until, until, fingerprint)


@pytest.fixture
def redis() -> fakeredis.FakeAsyncRedis:
    return fakeredis.FakeAsyncRedis()


async def test_token_that_was_used_is_refused_by_every_process(
    redis: fakeredis.FakeAsyncRedis,
) -> None:
    async with UsedTokens(redis).use(token()):
        with pytest.raises(LoginRefused):
            async with UsedTokens(redis).use(token()):
                pass
    with pytest.raises(LoginRefused, match="already used"):
        async with UsedTokens(redis).use(token()):
            pass
    async with UsedTokens(redis).use(token("another")):
        pass


async def test_it_is_remembered_as_long_as_it_could_be_used(
    redis: fakeredis.FakeAsyncRedis,
) -> None:
    async with UsedTokens(redis).use(token(seconds=300)):
        pass
    [key] = await redis.keys("*")
    assert 290 < await redis.ttl(key) <= 300


async def test_token_is_good_again_if_the_cluster_fails(
    redis: fakeredis.FakeAsyncRedis,
) -> None:
    with pytest.raises(ClusterUnreachable):
        async with UsedTokens(redis).use(token()):
            raise ClusterUnreachable
    with pytest.raises(LoginRefused, match="the cluster"):
        async with UsedTokens(redis).use(token()):
            raise LoginRefused("the cluster refused it")
    with pytest.raises(LoginRefused, match="already used"):
        async with UsedTokens(redis).use(token()):
            pass


async def test_token_is_not_used_because_the_command_was_sent_twice(
    redis: fakeredis.FakeAsyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the first was lost with the connection."""
    set_once = redis.set

    async def set_twice(*arguments: Any, **options: Any) -> object:
        await set_once(*arguments, **options)
        return await set_once(*arguments, **options)

    monkeypatch.setattr(redis, "set", set_twice)
    async with UsedTokens(redis).use(token()):
        pass
    with pytest.raises(LoginRefused, match="already used"):
        async with UsedTokens(redis).use(token()):
            pass
