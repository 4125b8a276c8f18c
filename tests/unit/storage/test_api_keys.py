"""API keys in the database: live as long as their credential."""

from datetime import timedelta
from typing import Any

import pytest

from resop.errors import LimitReached
from resop.security.scope import Scope
from resop.storage import api_keys
from resop.storage.api_keys import ApiKeyStore
from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.models import ApiKey, Credential, now


@pytest.fixture
def store(database: Database) -> ApiKeyStore:
    return ApiKeyStore(database)


def add(store: ApiKeyStore, key_id: str, hours: float = 1, **owner: str) -> ApiKey:
    expires = now() + timedelta(hours=hours)
    owned: dict[str, Any] = {"username": "ada", "cluster": "hpc", "expires_at": expires} | owner
    key = ApiKey(id=key_id, name="ci", digest="d" * 64, scope=Scope().as_json(), **owned)
    store.add(key, Credential(id=key_id, **owned))
    return key


def test_live_keys_are_found_by_id_and_by_owner(store: ApiKeyStore) -> None:
    first, _, _ = add(store, "k1"), add(store, "k2", cluster="other"), add(store, "k3", hours=-1)
    add(store, "k4", username="bob")
    found = store.get("k1")
    assert found is not None and found.model_dump() == first.model_dump()
    assert store.get("k3") is None and store.get("k9") is None
    assert [key.id for key in store.live("ada", "hpc")] == ["k1"]


def test_key_ends_with_its_credential(
    store: ApiKeyStore, credential_store: CredentialStore
) -> None:
    add(store, "k1")
    assert credential_store.revoke("k1")
    assert store.get("k1") is None and store.live("ada", "hpc") == []


def test_keys_of_one_user_are_limited(
    store: ApiKeyStore, credential_store: CredentialStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_keys, "MAX_API_KEYS", 2)
    add(store, "k1")
    add(store, "k2")
    with pytest.raises(LimitReached):
        add(store, "k3")
    assert credential_store.get("k3") is None
    add(store, "k4", username="bob")
    credential_store.revoke("k1")
    add(store, "k5")


def test_keys_are_no_logins_that_a_new_login_ends(
    store: ApiKeyStore, credential_store: CredentialStore
) -> None:
    add(store, "k1")
    login = Credential(
        id="c1", username="ada", cluster="hpc", expires_at=now() + timedelta(hours=1)
    )
    credential_store.add(login)
    assert credential_store.surplus("ada", "hpc", 0) == ["c1"]


def test_use_is_noted_and_old_keys_are_deleted(store: ApiKeyStore) -> None:
    add(store, "k1")
    moment = now()
    store.note_use("k1", moment)
    found = store.get("k1")
    assert found is not None and found.last_used_at == moment
    assert store.delete_expired(now(), 10) == 0
    assert store.delete_expired(now() + timedelta(hours=2), 10) == 1
