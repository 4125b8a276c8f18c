"""Logins end with their tasks, by what the database says alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from resop.errors import UserBlocked
from resop.storage.batch_dispatch import dispatch_batches
from resop.storage.batches import BatchStore
from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.login_ends import LoginEnds
from resop.storage.models import CREDENTIAL, BlockedUser, Credential, State, Task, now
from resop.storage.tasks import TaskStore
from resop.storage.workers import WorkerStore
from tests.support.tasks import new_batch, new_task

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
REASON = "revoked by an administrator"


@pytest.fixture
def ends(database: Database) -> LoginEnds:
    return LoginEnds(database)


@pytest.fixture(autouse=True)
def login(credential_store: CredentialStore) -> Credential:
    """Log in ada: the credential of all tasks unless a test says otherwise."""
    return log_in(credential_store)


def log_in(store: CredentialStore, number: int = 1, **values: Any) -> Credential:
    defaults: dict[str, Any] = {
        "id": f"credential-{number}",
        "username": "ada",
        "cluster": "tango",
        "encrypted_key": b"SEALED",
        "expires_at": now() + timedelta(hours=1),
    }
    credential = Credential(**defaults | values)
    store.add(credential)
    return credential


def block(reason: str = "suspended", **values: str) -> BlockedUser:
    defaults: dict[str, Any] = {"username": "ada", "cluster": "tango", "blocked_by": "root"}
    return BlockedUser(reason=reason, **defaults | values)


def add(store: TaskStore, **values: Any) -> str:
    task = new_task(**values)
    store.add(task)
    return task.id


def read(store: TaskStore, task_id: str) -> Task:
    task = store.get(task_id)
    assert task is not None
    return task


def end_by_looking(ends: LoginEnds) -> int:
    """End the work of all ended logins as a worker does; return how many tasks that cancelled."""
    return ends.end_work(ends.ended_since(LONG_AGO)).cancelled


def key_of(database: Database, credential: str = "credential-1") -> bytes | None:
    query = select(CREDENTIAL.c.encrypted_key).where(CREDENTIAL.c.id == credential)
    with database.read() as db:
        key: bytes | None = db.execute(query).scalar_one()
    return key


def expire(database: Database) -> None:
    with database.write() as db:
        db.execute(update(CREDENTIAL).values(expires_at=now() - timedelta(seconds=1)))


def test_ended_login_is_refused_and_its_queued_tasks_are_cancelled_with_the_reason(
    ends: LoginEnds, task_store: TaskStore, credential_store: CredentialStore, database: Database
) -> None:
    log_in(credential_store, 2)
    mine, others = add(task_store), add(task_store, credential="credential-2")
    [ended] = ends.end(["credential-1"], REASON)
    assert (ended.id, ended.username, ended.keeps_running) == ("credential-1", "ada", False)
    assert credential_store.get("credential-1") is None
    assert credential_store.get("credential-2") is not None
    assert key_of(database) is None
    assert ends.end_work([ended]).cancelled == 1
    task = read(task_store, mine)
    assert (task.state, task.encrypted_payload) == (State.CANCELLED, None)
    assert task.error is not None and task.error["type"] == "TaskCancelled"
    assert REASON in task.error["message"] and task.error["ended"] is True
    assert read(task_store, others).state == State.QUEUED
    assert ends.end(["credential-1"], REASON) == [], "it had ended"


@pytest.mark.parametrize("how", ["revoked", "expired", "blocked"])
def test_task_of_an_ended_login_is_cancelled_instead_of_claimed(
    ends: LoginEnds, task_store: TaskStore, database: Database, how: str
) -> None:
    task = add(task_store)
    match how:
        case "revoked":
            ends.end(["credential-1"], REASON)
        case "expired":
            expire(database)
        case _:
            ends.block(block("a stolen laptop"))
    assert task_store.claim_all([task], "w") == []
    cancelled = read(task_store, task)
    assert (cancelled.state, cancelled.worker) == (State.CANCELLED, None)
    reason = {"revoked": REASON, "expired": "expired", "blocked": "a stolen laptop"}[how]
    assert cancelled.error is not None and reason in cancelled.error["message"]


def test_task_of_a_live_or_unknown_login_is_claimed(task_store: TaskStore) -> None:
    tasks = [add(task_store), add(task_store, credential="unknown")]
    assert [each.id for each in task_store.claim_all(tasks, "w")] == tasks


def test_running_tasks_are_marked_and_keep_the_key_until_they_have_ended(
    ends: LoginEnds, task_store: TaskStore, credential_store: CredentialStore, database: Database
) -> None:
    task = add(task_store)
    task_store.claim(task, "w")
    ended = ends.end(["credential-1"], REASON)
    assert ends.end_work(ended).running == [task]
    assert task_store.cancel_requested("w") == [task]
    assert credential_store.get("credential-1") is None, "the token is refused"
    assert credential_store.usable("credential-1") is not None, "its step can be found and ended"
    assert ends.reason_of("credential-1") == REASON
    assert ends.forget_keys() == [] and key_of(database)
    task_store.end(task, State.CANCELLED)
    assert ends.forget_keys() == ["credential-1"] and key_of(database) is None
    assert credential_store.usable("credential-1") is None


def test_handed_off_task_of_an_ended_login_is_claimed_to_be_ended(
    ends: LoginEnds, task_store: TaskStore, database: Database
) -> None:
    task = add(task_store, resume_count=0)
    task_store.claim(task, "w")
    assert WorkerStore(database).hand_off(task, "w")
    ends.end_work(ends.end(["credential-1"], REASON))
    [claimed] = task_store.claim_all([task], "another")
    assert claimed.cancel_asked_at is not None


def test_kept_tasks_continue_and_the_key_is_erased_after_the_last(
    ends: LoginEnds, task_store: TaskStore, credential_store: CredentialStore, database: Database
) -> None:
    running, queued = add(task_store), add(task_store)
    task_store.claim(running, "w")
    [ended] = ends.end(["credential-1"], "logged out", keep_running=True)
    assert ended.keeps_running
    assert end_by_looking(ends) == 0
    assert credential_store.get("credential-1") is None
    assert credential_store.live("ada") == []
    assert task_store.cancel_requested("w") == []
    assert [each.id for each in task_store.claim_all([queued], "w")] == [queued]
    assert credential_store.usable("credential-1") is not None
    assert ends.forget_keys() == []
    for task in (running, queued):
        task_store.end(task, State.SUCCEEDED)
    assert ends.forget_keys() == ["credential-1"]
    assert key_of(database) is None and credential_store.usable("credential-1") is None


def test_without_tasks_there_is_nothing_to_keep(ends: LoginEnds, database: Database) -> None:
    [ended] = ends.end(["credential-1"], "logged out", keep_running=True)
    assert not ended.keeps_running and key_of(database) is None


@pytest.mark.parametrize("how", ["everywhere", "blocked", "expired"])
def test_kept_tasks_end_when_the_user_or_an_administrator_ends_everything(
    ends: LoginEnds, task_store: TaskStore, database: Database, how: str
) -> None:
    queued = add(task_store)
    ends.end(["credential-1"], "logged out", keep_running=True)
    match how:
        case "everywhere":
            ends.end_all("ada", "tango", "ended by its user")
        case "blocked":
            ends.block(block())
        case _:
            expire(database)
    assert end_by_looking(ends) == 1
    assert read(task_store, queued).state == State.CANCELLED


def test_batch_ends_and_none_of_its_tasks_is_dispatched(
    ends: LoginEnds, task_store: TaskStore, database: Database
) -> None:
    batch = new_batch(size=1200)
    tasks = [new_task(batch=batch.id, number=number) for number in range(1200)]
    BatchStore(database).add(batch, tasks)
    dispatched = [task for task, *_ in dispatch_batches(database, 8).tasks]
    assert len(dispatched) == 8
    task_store.claim_all(dispatched[:3], "w")
    work = ends.end_work(ends.end(["credential-1"], REASON))
    assert (work.cancelled, sorted(work.running)) == (1197, sorted(dispatched[:3]))
    assert dispatch_batches(database, 8).tasks == []
    for task in dispatched[:3]:
        task_store.end(task, State.CANCELLED)
    assert dispatch_batches(database, 8).ended == [batch.id]
    found = BatchStore(database).get(batch.id)
    assert found is not None and found.cancel_asked_at is not None
    assert BatchStore(database).counts([batch.id]) == {batch.id: {State.CANCELLED: 1200}}


def test_end_all_spares_the_named_login_and_other_users_and_clusters(
    ends: LoginEnds, credential_store: CredentialStore
) -> None:
    for number, values in enumerate(
        [{}, {"username": "bob"}, {"cluster": "other"}, {"username": "Ada"}], 2
    ):
        log_in(credential_store, number, **values)
    ended = ends.end_all("ada", "tango", "everywhere", but="credential-1")
    assert [each.id for each in ended] == ["credential-2"]
    live = {each.id for each in credential_store.live()}
    assert live == {f"credential-{number}" for number in (1, 3, 4, 5)}


def test_blocked_user_cannot_log_in_and_others_can(
    ends: LoginEnds, credential_store: CredentialStore, database: Database
) -> None:
    assert [each.id for each in ends.block(block("lost laptop"))] == ["credential-1"]
    with pytest.raises(UserBlocked, match="lost laptop"):
        log_in(credential_store, 2)
    assert credential_store.get("credential-2") is None and key_of(database, "credential-2") is None
    for number, values in ((3, {"username": "bob"}), (4, {"cluster": "other"})):
        log_in(credential_store, number, **values)
        assert credential_store.get(f"credential-{number}") is not None
    assert ends.unblock("ada", "tango") and not ends.unblock("ada", "tango")
    assert credential_store.get("credential-1") is None, "what was ended stays ended"
    assert credential_store.get("credential-2") is None
    log_in(credential_store, 5)
    assert credential_store.get("credential-5") is not None


def test_login_that_began_while_the_block_was_written_is_refused_and_ended(
    ends: LoginEnds, credential_store: CredentialStore, database: Database
) -> None:
    ends.block(block())
    with database.write() as db:  # as a transaction does that did not see the block
        late = Credential(
            id="late", username="ada", cluster="tango", expires_at=now() + timedelta(hours=1)
        )
        db.execute(CREDENTIAL.insert(), [late.model_dump()])
    assert credential_store.get("late") is None
    assert [each.id for each in credential_store.live("ada")] == []
    assert [each.id for each in ends.end_blocked()] == ["late"]
    assert ends.end_blocked() == []
    assert "late" in {each.id for each in ends.ended_since(now() - timedelta(seconds=60))}


def test_blocks_are_listed_and_a_second_one_changes_the_reason(ends: LoginEnds) -> None:
    ends.block(block("first"))
    [first] = ends.blocked()
    ends.block(block("second", blocked_by="carol@tango"))
    [second] = ends.blocked()
    assert (second.reason, second.blocked_by) == ("second", "carol@tango")
    assert second.since == first.since


def test_only_recent_ends_are_found(ends: LoginEnds, credential_store: CredentialStore) -> None:
    began = now()
    assert ends.ended_since(began) == []
    ends.end(["credential-1"], REASON)
    [ended] = ends.ended_since(began)
    assert (ended.id, ended.reason) == ("credential-1", REASON)
    assert ended.at >= began
    assert ends.ended_since(now() + timedelta(seconds=1)) == []


def test_use_is_recorded_and_never_set_back(
    credential_store: CredentialStore, login: Credential
) -> None:
    minute = now().replace(second=0, microsecond=0)
    credential_store.note_use([login.id], minute)
    credential_store.note_use([login.id, "unknown"], minute - timedelta(minutes=5))
    found = credential_store.get(login.id)
    assert found is not None and found.last_used_at == minute
