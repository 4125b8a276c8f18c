"""Audit entries: written with their task, searched, truncated."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from resop.errors import LimitReached
from resop.storage.audit_log import (
    MAX_OPTIONS_CHARACTERS,
    AuditFilter,
    AuditLog,
    bounded_options,
    items_digest,
    items_record,
)
from resop.storage.database import Database
from resop.storage.models import IdempotencyKey, RequestOutcome, State, Task, now
from resop.storage.tasks import TaskStore
from tests.support.audit import audit_entry as entry
from tests.support.audit import faults, new_log
from tests.support.tasks import new_task as task

HOUR = timedelta(hours=1)


def key_of(task: Task) -> IdempotencyKey:
    return IdempotencyKey(id="k", digest="d", task=task.id)


@pytest.fixture
def audit(database: Database) -> AuditLog:
    return new_log(database)


def test_entry_of_a_task_is_written_with_it_or_not_at_all(
    audit: AuditLog, database: Database
) -> None:
    task_store = TaskStore(database, audit.chain)
    first, second = task(), task()
    task_store.add(first, key=key_of(first), audit=entry(task=first.id))
    assert task_store.add(second, key=key_of(second), audit=entry(task=second.id)) is not None
    with pytest.raises(LimitReached):
        task_store.add(task(), max_queued=1, audit=entry())
    assert [each.task for each in AuditLog(database).all_entries(AuditFilter())] == [first.id]
    assert faults(database) == []


def test_entries_are_found_by_user_action_time_and_outcome(audit: AuditLog) -> None:
    began = now()
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


def test_reads_can_be_left_out(audit: AuditLog) -> None:
    for method in ("GET", "POST", "HEAD", "TASK"):
        audit.add(entry(method=method))
    found = {each.method for each in audit.all_entries(AuditFilter(acting=True))}
    assert found == {"POST", "TASK"}


def test_marks_are_listed_only_on_request(audit: AuditLog) -> None:
    audit.add(entry(action="core:run"))
    assert [each.action for each in audit.all_entries(AuditFilter())] == ["core:run"]
    found = {each.action for each in audit.all_entries(AuditFilter(marks=True))}
    assert found == {"core:run", "audit:started"}


def test_states_of_tasks_and_batches_are_told(audit: AuditLog, database: Database) -> None:
    store = TaskStore(database, audit.chain)
    done, failed, waiting = task(), task(), task()
    for each in (done, failed, waiting):
        each.batch, each.number = "b1", 0
        store.add(each, audit=entry(task=each.id))
    store.claim_all([done.id, failed.id], "w")
    store.end(done.id, State.SUCCEEDED)
    store.end(failed.id, State.FAILED, error={"type": "CommandFailed", "message": "exit 1"})
    entries = [*audit.all_entries(AuditFilter()), entry(task="b1"), entry(task="gone"), entry()]
    assert audit.task_states(entries) == {
        done.id: "succeeded",
        failed.id: "failed CommandFailed",
        waiting.id: "queued",
        "b1": "1 failed, 1 queued, 1 succeeded",
    }


def test_long_texts_of_an_entry_are_truncated() -> None:
    options = {"script": "x" * 5000, "list": ["y" * 5000, 1], "short": "z"}
    kept = bounded_options(options)
    assert kept["short"] == "z" and kept["list"][1] == 1
    assert kept["script"] == "x" * 4096 + "… (5000 characters)"
    assert len(kept["list"][0]) < 4200


@pytest.mark.parametrize(
    "options",
    [
        {"command": "rm", "environment": {f"V{n}": "x" * 4000 for n in range(200)}},
        {"command": "rm", "arguments": ["x" * 100 for _ in range(10_000)]},
        {"command": "rm", "arguments": [["y" * 300] * 100] * 100},
    ],
)
def test_many_long_options_do_not_hide_the_short_ones(options: Any) -> None:
    kept = bounded_options(options)
    assert len(json.dumps(kept, ensure_ascii=False)) <= MAX_OPTIONS_CHARACTERS
    assert kept["command"] == "rm"


@pytest.mark.parametrize("options", [{"x" * 90_000: 1}, [[[["z" * 99] * 99] * 99] * 9]])
def test_options_of_any_shape_are_bounded(options: Any) -> None:
    assert len(json.dumps(bounded_options(options), ensure_ascii=False)) <= MAX_OPTIONS_CHARACTERS


def test_entry_of_a_batch_identifies_all_its_items() -> None:
    parameters = [{"user": f"u{n}", "text": "x" * 100} for n in range(1000)]
    record = items_record(parameters)
    assert record["count"] == 1000 and record["sha256"] == items_digest(parameters)
    assert record["first"] == parameters[: len(record["first"])] and len(record["first"]) > 50
    assert len(json.dumps(record)) < 2 * MAX_OPTIONS_CHARACTERS
    parameters[-1]["user"] = "root"
    assert items_digest(parameters) != record["sha256"]
