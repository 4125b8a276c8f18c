"""The certificates that a cluster should refuse: ended before their time."""

from __future__ import annotations

from datetime import timedelta

from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.models import Credential, now


def test_only_certificates_that_would_still_be_valid_are_listed(database: Database) -> None:
    store = CredentialStore(database)
    hour = timedelta(hours=1)
    for name, kind, expires in (
        ("ended", "certificate", hour),
        ("live", "certificate", hour),
        ("a key", "key", hour),
        ("over", "certificate", -hour),
    ):
        expires_at = now() + expires
        store.add(
            Credential(id=name, username="alice", cluster="hpc", kind=kind, expires_at=expires_at)
        )
    for name in ("ended", "a key", "over"):
        assert store.revoke(name)
    assert store.revoked_certificates() == ["ended"]
