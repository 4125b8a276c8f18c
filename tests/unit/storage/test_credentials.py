"""Credentials: found while they are live, and without a key after that."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from resop.errors import LimitReached
from resop.storage import credentials
from resop.storage.credentials import LOGGED_OUT, CredentialStore
from resop.storage.database import Database
from resop.storage.models import (
    Credential,
    now,
)
from resop.storage.tasks import TaskStore
from tests.support.tasks import new_task

HOUR = timedelta(hours=1)


def credential(number: int = 1, hours: float = 1) -> Credential:
    return Credential(
        id=f"credential-{number}",
        username="ada",
        cluster="tango",
        public_key="ssh-ed25519 AAAA",
        encrypted_key=b"\x00\xff",
        expires_at=now() + hours * HOUR,
    )


def test_live_credential_is_found_with_its_key(credential_store: CredentialStore) -> None:
    added = credential()
    credential_store.add(added)
    read = credential_store.get("credential-1")
    assert read is not None
    assert read.model_dump() == added.model_dump()
    assert credential_store.get("credential-2") is None


def test_revoked_credential_is_gone_and_so_is_its_key(
    credential_store: CredentialStore, tmp_path: Path
) -> None:
    credential_store.add(credential(1))
    credential_store.add(credential(2))
    assert credential_store.revoke("credential-1")
    assert not credential_store.revoke("credential-1")
    assert not credential_store.revoke("no-such-credential")
    assert credential_store.get("credential-1") is None
    assert credential_store.get("credential-2") is not None


def test_expired_credential_is_refused(credential_store: CredentialStore) -> None:
    credential_store.add(credential(1, hours=-0.001))
    assert credential_store.get("credential-1") is None


def test_keys_of_expired_credentials_are_erased_at_the_next_login(
    credential_store: CredentialStore, database: Database, tmp_path: Path
) -> None:
    expired = credential(1, hours=-1)
    expired.encrypted_key = b"SEALED-AND-EXPIRED"
    credential_store.add(expired)
    credential_store.add(credential(2))
    with database.read() as db:
        keys = db.exec_driver_sql("SELECT id, encrypted_key FROM credential ORDER BY id").all()
    assert [tuple(row) for row in keys] == [("credential-1", None), ("credential-2", b"\x00\xff")]


def test_live_credentials_are_found_by_name_and_cluster(credential_store: CredentialStore) -> None:
    owners = [("ada", "tango"), ("ada", "main"), ("ada@main", "tango"), ("Ada", "main")]
    for number, (name, cluster) in enumerate(owners):
        added = credential(number)
        added.username, added.cluster, added.uid = name, cluster, 4_294_967_294
        credential_store.add(added)

    def found(user: str | None) -> list[tuple[str, str]]:
        live = credential_store.live(user)
        assert all(each.uid == 4_294_967_294 for each in live)
        return [(each.username, each.cluster) for each in live]

    assert found(None) == owners
    assert found("ada") == owners[:2]
    assert found("ada@tango") == owners[:1]
    assert found("ada@main") == owners[1:3]
    assert found("ada@main@tango") == owners[2:3]
    assert found("ADA") == found("ada@") == found("") == []


def test_the_oldest_logins_without_tasks_are_surplus(
    credential_store: CredentialStore, database: Database
) -> None:
    for number in range(1, 6):
        credential_store.add(credential(number))
    other = credential(9)
    other.cluster = "elsewhere"
    credential_store.add(other)
    TaskStore(database).add(new_task(credential="credential-1"))
    assert credential_store.surplus("ada", "tango", 5) == []
    assert credential_store.surplus("ada", "tango", 3) == ["credential-2", "credential-3"]
    assert credential_store.surplus("bob", "tango", 0) == []
    with pytest.raises(LimitReached) as refused:
        credential_store.surplus("ada", "tango", 0)
    assert refused.value.details["limit"] == "logins_per_user"
    assert refused.value.details["retry_after"] == 60


def test_ended_logins_without_a_key_are_listed(
    credential_store: CredentialStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        credential_store.add(credential(number))
    credential_store.revoke("credential-2")
    credential_store.revoke("credential-3", LOGGED_OUT)
    assert credential_store.erased("ada", "tango") == ["credential-2"]
    monkeypatch.setattr(credentials, "LOGOUT_TIME", timedelta(seconds=-1))
    assert credential_store.erased("ada", "tango") == ["credential-2", "credential-3"]
    assert credential_store.erased("ada", "elsewhere") == []
