"""An API process learns from the database which logins have ended, and records which are used."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest

from api.state.login_monitor import LoginMonitor, LoginUse
from resop.errors import RecordsUnavailable
from resop.messaging.messages import LoggedOut
from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.login_ends import LoginEnds
from resop.storage.models import Credential, now


@pytest.fixture
def login(credential_store: CredentialStore) -> str:
    expires = now() + timedelta(hours=1)
    credential_store.add(Credential(id="mine", username="ada", cluster="tango", expires_at=expires))
    return "mine"


class Process:
    """The monitor of an API process, and the logouts that it passed on."""

    def __init__(self, store: CredentialStore, database: Database) -> None:
        self.use = LoginUse()
        self.logouts: list[LoggedOut] = []
        self.monitor = LoginMonitor(store, LoginEnds(database), self.use, [self.logouts.append])


async def test_logins_that_another_process_ended_are_passed_on(
    login: str, credential_store: CredentialStore, database: Database
) -> None:
    process = Process(credential_store, database)
    await process.monitor.look()
    assert process.logouts == []
    credential_store.revoke(login)
    await process.monitor.look()
    assert process.logouts == [LoggedOut(login)]


async def test_expired_logins_are_passed_on(
    credential_store: CredentialStore, database: Database
) -> None:
    process = Process(credential_store, database)
    expired = now() - timedelta(seconds=1)
    credential_store.add(Credential(id="old", username="ada", cluster="tango", expires_at=expired))
    await process.monitor.look()
    assert process.logouts == [LoggedOut("old")]


async def test_what_ended_while_the_database_was_away_is_passed_on_later(
    login: str,
    credential_store: CredentialStore,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = Process(credential_store, database)
    ended_since = LoginEnds.ended_since

    def refuse(*_: object) -> None:
        raise RecordsUnavailable

    monkeypatch.setattr(LoginEnds, "ended_since", refuse)
    with pytest.raises(RecordsUnavailable):
        await process.monitor.look()
    credential_store.revoke(login)
    monkeypatch.setattr(LoginEnds, "ended_since", ended_since)
    await process.monitor.look()
    assert process.logouts == [LoggedOut(login)]


async def test_use_of_a_login_is_recorded_once_a_minute(
    login: str,
    credential_store: CredentialStore,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = Process(credential_store, database)
    await process.monitor.look()
    writes = []
    note_use = credential_store.note_use

    def counted(ids: Iterable[str], minute: datetime) -> None:
        writes.append(minute)
        note_use(ids, minute)

    monkeypatch.setattr(credential_store, "note_use", counted)
    for _ in range(3):
        process.use.note(login)
        await process.monitor.look()
    found = credential_store.get(login)
    assert found is not None and found.last_used_at is not None
    assert found.last_used_at.second == found.last_used_at.microsecond == 0
    assert 1 <= len(writes) <= 2, "the minute may have changed meanwhile"
