"""A login is trusted without the database only while every logout would be noticed."""

import time

import pytest

from api.state.login_cache import MAX_TRUSTED_LOGINS, LoginCache
from resop.messaging.messages import LoggedOut, Resync
from resop.security.tokens import Token
from resop.storage.models import Credential, now


def token(credential: str = "c1") -> Token:
    return Token("ada", "hpc", credential, "00", 0)


class FakeCredentialStore:
    """Credentials that can be revoked; counts how often they are read."""

    def __init__(self) -> None:
        self.revoked: set[str] = set()
        self.reads = 0
        self.while_reading: list[LoggedOut] = []
        self.cache: LoginCache | None = None

    def get(self, credential_id: str) -> Credential | None:
        self.reads += 1
        found = credential_id not in self.revoked
        for message in self.while_reading:
            assert self.cache is not None
            self.cache.on_logout(message)
        if not found:
            return None
        return Credential(
            id=credential_id, username="ada", cluster="hpc", kind="key", expires_at=now()
        )


class Subscription:
    """A subscription that may be lost."""

    connected = True


@pytest.fixture
def store() -> FakeCredentialStore:
    return FakeCredentialStore()


@pytest.fixture
def subscription() -> Subscription:
    return Subscription()


@pytest.fixture
def cache(store: FakeCredentialStore, subscription: Subscription) -> LoginCache:
    store.cache = LoginCache(store, subscription)  # type: ignore[arg-type]
    return store.cache


async def test_a_valid_login_is_read_once(cache: LoginCache, store: FakeCredentialStore) -> None:
    assert [await cache.is_valid(token()) for _ in range(3)] == [True] * 3
    assert store.reads == 1


async def test_an_ended_login_is_never_valid(cache: LoginCache, store: FakeCredentialStore) -> None:
    store.revoked.add("c1")
    assert [await cache.is_valid(token()) for _ in range(2)] == [False] * 2
    assert store.reads == 2


@pytest.mark.parametrize("message", [LoggedOut("c1"), Resync()])
async def test_a_logout_elsewhere_is_noticed(
    cache: LoginCache, store: FakeCredentialStore, message: LoggedOut | Resync
) -> None:
    assert await cache.is_valid(token())
    store.revoked.add("c1")
    cache.on_logout(message)
    assert not await cache.is_valid(token())


async def test_a_logout_whose_message_is_lost_is_noticed_within_a_minute(
    cache: LoginCache, store: FakeCredentialStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await cache.is_valid(token())
    store.revoked.add("c1")
    later = time.monotonic() + 60.1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert not await cache.is_valid(token())


async def test_without_a_subscription_the_database_is_read_every_time(
    cache: LoginCache, store: FakeCredentialStore, subscription: Subscription
) -> None:
    assert await cache.is_valid(token())
    subscription.connected = False
    store.revoked.add("c1")
    assert not await cache.is_valid(token())


async def test_what_is_read_without_a_subscription_is_not_trusted_later(
    cache: LoginCache, store: FakeCredentialStore, subscription: Subscription
) -> None:
    subscription.connected = False
    assert await cache.is_valid(token())
    store.revoked.add("c1")  # and its message went to nobody
    subscription.connected = True
    assert not await cache.is_valid(token())


async def test_a_logout_while_the_database_is_read_is_not_forgotten(
    cache: LoginCache, store: FakeCredentialStore
) -> None:
    store.while_reading = [LoggedOut("c1")]
    assert await cache.is_valid(token())  # it was, when it was read
    store.while_reading = []
    store.revoked.add("c1")
    assert not await cache.is_valid(token())


async def test_the_cache_does_not_grow_without_limit(
    cache: LoginCache, store: FakeCredentialStore
) -> None:
    for number in range(MAX_TRUSTED_LOGINS + 1):
        cache._trusted_until[str(number)] = 0
    assert await cache.is_valid(token())
    assert len(cache._trusted_until) == 1
