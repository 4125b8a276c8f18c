"""An API key is read once, and known until it is deleted; a wrong secret is never known."""

from datetime import datetime, timedelta

import pytest

from api.state.api_key_cache import ApiKeyCache
from resop.errors import RecordsUnavailable, TokenRefused
from resop.messaging.messages import LoggedOut, Resync
from resop.security.api_keys import ApiKeyText
from resop.security.scope import Scope
from resop.storage.ids import new_id
from resop.storage.models import ApiKey, now

SCOPE = Scope(True, ("slurm:*",), ("192.0.2.0/24",))


class FakeStore:
    """Keys in memory; counts how often they are read, and how often a use is noted."""

    def __init__(self) -> None:
        self.keys: dict[str, ApiKey] = {}
        self.reads = 0
        self.uses = 0
        self.available = True

    def get(self, key_id: str) -> ApiKey | None:
        self.reads += 1
        return self.keys.get(key_id)

    def note_use(self, key_id: str, moment: datetime) -> None:
        if not self.available:
            raise RecordsUnavailable
        self.uses += 1


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def cache(store: FakeStore) -> ApiKeyCache:
    return ApiKeyCache(store)  # type: ignore[arg-type]


def add(store: FakeStore, hours: float = 1) -> ApiKeyText:
    text = ApiKeyText.new(new_id())
    expires = now() + timedelta(hours=hours)
    store.keys[text.id] = ApiKey(
        id=text.id,
        username="ada",
        cluster="hpc",
        name="ci",
        digest=text.digest,
        scope=SCOPE.as_json(),
        expires_at=expires,
    )
    return text


async def test_key_stands_for_its_owner_within_its_scope(
    cache: ApiKeyCache, store: FakeStore
) -> None:
    key = add(store)
    token, *others = [await cache.token_of(key.text) for _ in range(3)]
    assert others == [token] * 2
    assert (token.username, token.cluster, token.credential) == ("ada", "hpc", key.id)
    assert (token.scope, token.api_key, token.key_share) == (SCOPE, True, key.key_share)
    assert (store.reads, store.uses) == (1, 1)


async def test_another_secret_for_a_known_id_is_refused(
    cache: ApiKeyCache, store: FakeStore
) -> None:
    key = add(store)
    forged = ApiKeyText.new(key.id)
    for _ in range(2):
        with pytest.raises(TokenRefused):
            await cache.token_of(forged.text)
        await cache.token_of(key.text)
    assert store.uses == 1


@pytest.mark.parametrize("known", [False, True])
async def test_deleted_and_expired_keys_are_refused(
    cache: ApiKeyCache, store: FakeStore, known: bool
) -> None:
    deleted, expired, kept = add(store), add(store, hours=-1), add(store)
    if known:
        await cache.token_of(deleted.text)
    del store.keys[deleted.id]
    cache.on_logout(LoggedOut(deleted.id))
    for key in (deleted, expired):
        with pytest.raises(TokenRefused):
            await cache.token_of(key.text)
    await cache.token_of(kept.text)
    reads = store.reads
    cache.on_logout(Resync())
    await cache.token_of(kept.text)
    assert store.reads == reads + 1


async def test_typing_errors_do_not_reach_the_database(
    cache: ApiKeyCache, store: FakeStore
) -> None:
    key = add(store)
    with pytest.raises(TokenRefused, match="copy it again"):
        await cache.token_of(key.text[:-1] + ("0" if key.text[-1] != "0" else "1"))
    assert store.reads == 0


async def test_a_use_that_cannot_be_recorded_refuses_nobody(
    cache: ApiKeyCache, store: FakeStore
) -> None:
    store.available = False
    assert (await cache.token_of(add(store).text)).username == "ada"
