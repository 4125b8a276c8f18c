"""Idempotency keys: one task for each key, whatever comes at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from resop.errors import LimitReached
from resop.storage.idempotency_keys import IdempotencyKeyStore
from resop.storage.models import (
    IdempotencyKey,
    Task,
    now,
)
from resop.storage.tasks import TaskStore
from tests.support.tasks import new_task as task

HOUR = timedelta(hours=1)


def key(task_id: str, **values: Any) -> IdempotencyKey:
    return IdempotencyKey(**{"id": "k", "digest": "d", "task": task_id} | values)


def test_key_in_use_returns_the_first_task_and_no_other_is_written(
    task_store: TaskStore, key_store: IdempotencyKeyStore
) -> None:
    first, second = task(), task()
    assert task_store.add(first, key=key(first.id)) is None
    earlier = task_store.add(second, key=key(second.id, digest="other"))
    assert earlier is not None
    assert (earlier.task, earlier.digest) == (first.id, "d")
    assert task_store.get(second.id) is None
    key_store.delete("k")
    assert task_store.add(second, key=key(second.id)) is None


def test_concurrent_requests_with_one_key_create_one_task(task_store: TaskStore) -> None:
    start = threading.Barrier(12, timeout=20)
    tasks = [task() for _ in range(12)]

    def add(new: Task) -> str:
        start.wait()
        earlier = task_store.add(new, key=key(new.id))
        return earlier.task if earlier else new.id

    with ThreadPoolExecutor(12) as pool:
        (known,) = set(pool.map(add, tasks))
    assert [each.id for each in tasks if task_store.get(each.id)] == [known]


def test_old_keys_are_deleted_a_few_at_a_time(
    task_store: TaskStore, key_store: IdempotencyKeyStore
) -> None:
    for number in range(5):
        new = task()
        task_store.add(new, key=key(new.id, id=f"old{number}", created_at=now() - HOUR))
    new = task()
    task_store.add(new, key=key(new.id))
    moment = now() - timedelta(minutes=1)
    assert [key_store.delete_old(moment, 3) for _ in range(3)] == [3, 2, 0]
    assert key_store.get("old0") is None and key_store.get("k") is not None


def test_key_in_use_is_returned_although_the_queue_limit_is_reached(
    task_store: TaskStore, key_store: IdempotencyKeyStore
) -> None:
    first, second = task(), task()
    task_store.add(first, key=key(first.id), max_queued=1)
    earlier = task_store.add(second, key=key(second.id), max_queued=1)
    assert earlier is not None and earlier.task == first.id
    with pytest.raises(LimitReached):
        task_store.add(second, key=key(second.id, id="another"), max_queued=1)
    assert key_store.get("another") is None
