"""Audit entries: written with their task, searched, truncated."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from resop.errors import LimitReached
from resop.storage.audit_log import AuditFilter, AuditLog, truncate_options
from resop.storage.database import Database
from resop.storage.models import (
    AuditEntry,
    IdempotencyKey,
    RequestOutcome,
    Task,
    now,
)
from resop.storage.tasks import TaskStore
from tests.support.tasks import new_task as task

HOUR = timedelta(hours=1)


def key_of(task: Task) -> IdempotencyKey:
    return IdempotencyKey(id="k", digest="d", task=task.id)


def entry(**values: Any) -> AuditEntry:
    wanted = {"address": "192.0.2.1", "method": "POST", "path": "/", "status": 202}
    return AuditEntry(**{**wanted, "outcome": RequestOutcome.ACCEPTED, **values})


def test_entry_of_a_task_is_written_with_it_or_not_at_all(
    task_store: TaskStore, database: Database
) -> None:
    first, second = task(), task()
    task_store.add(first, key=key_of(first), audit=entry(task=first.id))
    assert task_store.add(second, key=key_of(second), audit=entry(task=second.id)) is not None
    with pytest.raises(LimitReached):
        task_store.add(task(), max_queued=1, audit=entry())
    assert [each.task for each in AuditLog(database).all_entries(AuditFilter())] == [first.id]


def test_entries_are_found_by_user_action_time_and_outcome(database: Database) -> None:
    audit, began = AuditLog(database), now()
    for username, action, outcome in [
        ("ada", "slurm:squeue", RequestOutcome.ACCEPTED),
        ("ada", "slurm_x:squeue", RequestOutcome.ACCEPTED),
        ("bob", "core:run", RequestOutcome.REFUSED),
    ]:
        audit.add(entry(username=username, action=action, outcome=outcome))

    def found(**wanted: Any) -> list[str]:
        return [each.action for each in audit.all_entries(AuditFilter(**wanted))]

    assert found() == ["core:run", "slurm_x:squeue", "slurm:squeue"]
    assert found(user="ada", action="slurm:*") == ["slurm:squeue"]
    assert found(action="*_*") == ["slurm_x:squeue"]
    assert found(outcome="refused") == found(user="bob") == ["core:run"]
    assert found(since=began - HOUR, until=began + HOUR) == found()
    assert found(until=began - HOUR) == found(since=began + HOUR) == []
    _, middle, oldest = audit.entries(AuditFilter(), 10)
    assert audit.entries(AuditFilter(), 1, middle.id) == [oldest]


def test_long_texts_of_an_entry_are_truncated() -> None:
    options = {"script": "x" * 5000, "list": ["y" * 5000, 1], "short": "z"}
    kept = truncate_options(options)
    assert kept["short"] == "z" and kept["list"][1] == 1
    assert kept["script"] == "x" * 4096 + "… (5000 characters)"
    assert len(kept["list"][0]) < 4200
