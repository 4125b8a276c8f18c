"""What is old is forgotten in small groups, and never for long at a time."""

from datetime import timedelta
from typing import Any

import pytest

from resop.storage.batches import BatchStore
from resop.storage.models import Batch, Credential, IdempotencyKey, State, now
from resop.storage.tasks import Records
from tests.support.ids import id_of
from tests.support.tasks import new_task
from worker import retention
from worker.retention import GROUP, RetentionCleaner


def add(records: Records, days_ago: float, **values: Any) -> str:
    """Write a task with a key, both made so many days ago; their id."""
    made = now() - timedelta(days=days_ago)
    task = new_task(id=id_of(made), created_at=made, **{"state": State.SUCCEEDED, **values})
    records.add_task(
        task, key=IdempotencyKey(id=task.id, digest="d", task=task.id, created_at=made)
    )
    return task.id


def test_keys_are_kept_a_day_and_tasks_as_long_as_the_site_says(records: Records) -> None:
    new, day_old, month_old = (add(records, days) for days in (0.9, 1.1, 31))
    running = add(records, 31, state=State.RUNNING)
    RetentionCleaner(records, 0).clean()
    assert [bool(records.key(each)) for each in (new, day_old, month_old)] == [True, False, False]
    assert all(records.task(each) for each in (new, day_old, month_old, running))
    RetentionCleaner(records, 30).clean()
    assert all(records.task(each) for each in (new, day_old, running))
    assert records.task(month_old) is None


def test_batch_whose_writer_died_is_forgotten_and_one_that_is_being_written_is_not(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = BatchStore(records)
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
        add(records, 0, state=State.QUEUED, batch=each.id, number=0)
    RetentionCleaner(records, 30).clean()
    assert [len(batches.tasks(each.id, limit=9)) for each in (dead, alive)] == [0, 1]


def test_credentials_are_forgotten_a_day_after_their_end(records: Records) -> None:
    for name, days in (("live", -1.0), ("ended", 0.9), ("old", 1.1)):
        ends = now() - timedelta(days=days)
        records.add_credential(Credential(id=name, username="ada", cluster="c", expires_at=ends))
    RetentionCleaner(records, 0).clean()
    assert [each.id for each in records.credentials()] == ["live"]
    assert records.forget_old_credentials(now(), 10) == 1


def test_all_of_it_is_forgotten_where_the_time_suffices_and_else_goes_on_next_time(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [add(records, 3) for _ in range(2 * GROUP + 1)]
    cleaner = RetentionCleaner(records, 2)
    with monkeypatch.context() as hurried:
        hurried.setattr(retention, "LONGEST_SECONDS", 0)
        cleaner.clean()
    assert sum(1 for each in old if records.task(each)) == GROUP + 1
    cleaner.clean()
    assert not any(records.task(each) or records.key(each) for each in old)
