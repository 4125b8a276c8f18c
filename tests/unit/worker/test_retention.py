"""Old data is deleted in small groups, and never for long at a time."""

from datetime import timedelta
from typing import Any

import pytest

from resop.storage.batches import BatchStore
from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.idempotency_keys import IdempotencyKeyStore
from resop.storage.models import Batch, Credential, IdempotencyKey, State, now
from resop.storage.tasks import TaskStore
from tests.support.ids import id_of
from tests.support.tasks import new_task
from worker import retention
from worker.retention import DELETED_PER_GROUP, RetentionCleaner


def add(task_store: TaskStore, days_ago: float, **values: Any) -> str:
    """Write a task and its key, both created some days ago; return the ID of both."""
    created = now() - timedelta(days=days_ago)
    task = new_task(id=id_of(created), created_at=created, **{"state": State.SUCCEEDED, **values})
    task_store.add(
        task, key=IdempotencyKey(id=task.id, digest="d", task=task.id, created_at=created)
    )
    return task.id


def test_keys_are_kept_for_a_day_and_tasks_for_history_days(
    task_store: TaskStore, key_store: IdempotencyKeyStore, database: Database
) -> None:
    new, day_old, month_old = (add(task_store, days) for days in (0.9, 1.1, 31))
    running = add(task_store, 31, state=State.RUNNING)
    RetentionCleaner(database, 0).clean()
    assert [bool(key_store.get(each)) for each in (new, day_old, month_old)] == [True, False, False]
    assert all(task_store.get(each) for each in (new, day_old, month_old, running))
    RetentionCleaner(database, 30).clean()
    assert all(task_store.get(each) for each in (new, day_old, running))
    assert task_store.get(month_old) is None


def test_batch_whose_writer_died_is_deleted_and_one_being_written_is_not(
    task_store: TaskStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = BatchStore(database)
    monkeypatch.setattr(batches, "_make_ready", lambda *_: None)
    dead, alive = (
        Batch(
            id=f"b{minutes}",
            kind="command",
            operator="utils",
            action="id",
            username="ada",
            cluster="hpc",
            options={},
            size=1,
            created_at=now() - timedelta(minutes=minutes),
        )
        for minutes in (11, 9)
    )
    for each in (dead, alive):
        batches.add(each, [])
        add(task_store, 0, state=State.QUEUED, batch=each.id, number=0)
    RetentionCleaner(database, 30).clean()
    assert [len(batches.tasks(each.id, limit=9)) for each in (dead, alive)] == [0, 1]


def test_credentials_are_deleted_a_day_after_their_end(
    credential_store: CredentialStore, database: Database
) -> None:
    for name, days in (("live", -1.0), ("ended", 0.9), ("old", 1.1)):
        ends = now() - timedelta(days=days)
        credential_store.add(Credential(id=name, username="ada", cluster="c", expires_at=ends))
    RetentionCleaner(database, 0).clean()
    assert [each.id for each in credential_store.live()] == ["live"]
    assert credential_store.delete_expired(now(), 10) == 1


def test_deletion_that_takes_too_long_continues_the_next_time(
    task_store: TaskStore,
    key_store: IdempotencyKeyStore,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = [add(task_store, 3) for _ in range(2 * DELETED_PER_GROUP + 1)]
    cleaner = RetentionCleaner(database, 2)
    with monkeypatch.context() as patch:
        patch.setattr(retention, "MAX_CLEAN_SECONDS", 0)
        cleaner.clean()
    assert sum(1 for each in old if task_store.get(each)) == DELETED_PER_GROUP + 1
    cleaner.clean()
    assert not any(task_store.get(each) or key_store.get(each) for each in old)
