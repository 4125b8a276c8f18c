"""Tasks: claimed by one worker, ended once, and unchanged after that."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import event

from resop.errors import LimitReached
from resop.storage.changes import Change
from resop.storage.database import Database
from resop.storage.models import (
    State,
    Step,
    Task,
    now,
)
from resop.storage.tasks import TaskStore, _count_waiting
from resop.storage.workers import WorkerStore
from tests.support.ids import next_id
from tests.support.tasks import new_task as task

ENDED = [state for state in State if state.ended]


@pytest.fixture
def queued(task_store: TaskStore) -> Task:
    added = task()
    task_store.add(added)
    return added


def found(task_store: TaskStore, task_id: str) -> Task:
    looked_up = task_store.get(task_id)
    assert looked_up is not None
    return looked_up


# -- create and read


def test_task_reads_back_as_it_was_written(task_store: TaskStore) -> None:
    written = task(tags=["a", "b"], command="echo x", state=State.QUEUED)
    task_store.add(written)
    assert found(task_store, written.id) == written
    assert task_store.get("no-such-task") is None


@pytest.mark.parametrize(
    "value",
    [
        "😀 4-byte é",
        "a\x00b",
        "\u2028",
        "x" * 200_000,
        {"😀": ["é", None, 1.5, True, {}]},
        0,
        False,
    ],
)
def test_any_text_and_json_survives(task_store: TaskStore, queued: Task, value: Any) -> None:
    task_store.claim(queued.id, "w")
    task_store.apply(
        [Change.ended(queued.id, State.SUCCEEDED, output=value, stderr=str(value))], "w"
    )
    read = found(task_store, queued.id)
    assert (read.output, read.stderr) == (value, str(value))


def test_lone_surrogate_is_stored_as_a_question_mark(task_store: TaskStore, queued: Task) -> None:
    task_store.claim(queued.id, "w")
    error = {"message": "half \ud83d"}
    task_store.apply([Change.ended(queued.id, State.FAILED, error=error, log=["\udcff"])], "w")
    read = found(task_store, queued.id)
    assert read.state == State.FAILED
    assert (read.error, read.log) == ({"message": "half ?"}, ["?"])


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30))])
def test_times_are_aware_utc_with_microseconds(task_store: TaskStore, zone: timezone) -> None:
    moment = datetime(2026, 3, 1, 12, 30, 45, 123456, tzinfo=zone)
    written = task(created_at=moment)
    task_store.add(written)
    read = found(task_store, written.id).created_at
    assert read == moment
    assert read.tzinfo is UTC
    assert now().tzinfo is UTC


def test_task_of_a_relaxed_write_is_made_durable_and_claimed(task_store: TaskStore) -> None:
    added = task()
    task_store.add(added, durable=False)
    task_store.make_durable(added.id)
    assert found(task_store, added.id) == added
    assert task_store.claim(added.id, "w") is not None


# -- claim


def test_claimed_task_is_running_and_has_its_worker(task_store: TaskStore, queued: Task) -> None:
    before = now()
    claimed = task_store.claim(queued.id, "worker-1")
    recorded = found(task_store, queued.id)
    assert (recorded.state, recorded.worker) == (State.RUNNING, "worker-1")
    assert recorded.started_at is not None
    assert before <= recorded.started_at <= now()
    assert claimed is not None
    assert asdict(claimed) == {name: getattr(recorded, name) for name in asdict(claimed)}
    assert claimed.encrypted_payload == queued.encrypted_payload is not None


@pytest.mark.parametrize("state", [State.RUNNING, *ENDED])
def test_task_that_is_not_queued_cannot_be_claimed(task_store: TaskStore, state: State) -> None:
    other = task(state=state)
    task_store.add(other)
    assert task_store.claim(other.id, "w") is None
    assert task_store.claim("no-such-task", "w") is None
    assert found(task_store, other.id).worker is None


def several(task_store: TaskStore, count: int) -> list[str]:
    """Add `count` queued tasks and return their ids."""
    ids = [next_id() for _ in range(count)]
    for each in ids:
        task_store.add(task(id=each))
    return ids


def test_each_task_has_one_winner_among_threads(task_store: TaskStore) -> None:
    ids = several(task_store, 8)
    start = threading.Barrier(16, timeout=20)

    def claim_all(worker: str) -> list[str]:
        start.wait()
        return [each for each in ids if task_store.claim(each, worker)]

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(claim_all, map(str, range(16))))
    assert sorted(each for ids_won in won for each in ids_won) == sorted(ids)


def test_unclaimed_task_can_be_claimed_again(task_store: TaskStore, queued: Task) -> None:
    task_store.claim(queued.id, "worker-1")
    assert not task_store.unclaim(queued.id, "worker-2"), "it is another worker's"
    assert task_store.unclaim(queued.id, "worker-1")
    assert found(task_store, queued.id) == queued
    assert not task_store.unclaim(queued.id, "worker-1")
    assert task_store.claim(queued.id, "worker-2") is not None


# -- end


@pytest.mark.parametrize("state", ENDED)
def test_end_is_written_and_the_payload_is_erased(
    task_store: TaskStore, queued: Task, state: State
) -> None:
    task_store.claim(queued.id, "w")
    task_store.apply([Change.ended(queued.id, state, output="x", exit_code=3, seconds=0.5)], "w")
    read = found(task_store, queued.id)
    assert (read.state, read.output, read.exit_code, read.seconds) == (state, "x", 3, 0.5)
    assert read.encrypted_payload is None
    assert read.ended_at is not None
    assert read.options == queued.options


@pytest.mark.parametrize("first", ENDED)
def test_ended_task_never_changes(task_store: TaskStore, queued: Task, first: State) -> None:
    task_store.claim(queued.id, "w")
    assert task_store.end(queued.id, first, output="first")
    before = found(task_store, queued.id)
    for state in State:
        assert not task_store.end(queued.id, state, output="second")
        assert not task_store.end(queued.id, state, when=[State.QUEUED], output="second")
        task_store.apply([Change.ended(queued.id, state, output="second", log=["second"])], "w")
    task_store.apply([Change.progress(queued.id, log=["second"])], "w")
    assert not task_store.unclaim(queued.id, "w")
    assert task_store.claim(queued.id, "w") is None
    assert found(task_store, queued.id) == before


def test_former_worker_of_a_task_neither_changes_nor_ends_it(
    task_store: TaskStore, worker_store: WorkerStore
) -> None:
    durable = task(state=State.RUNNING, worker="w1", resume_count=0)
    task_store.add(durable)
    former = [
        Change.progress(durable.id, log=["former"]),
        Change.ended(durable.id, State.SUCCEEDED, output="former"),
    ]
    assert worker_store.hand_off(durable.id, "w1")
    handed_off = found(task_store, durable.id)
    assert task_store.apply(former, "w1") == former
    assert found(task_store, durable.id) == handed_off
    assert task_store.claim(durable.id, "w2") is not None
    resumed = found(task_store, durable.id)
    assert task_store.apply(former, "w1") == former
    assert found(task_store, durable.id) == resumed
    assert task_store.apply([Change.ended(durable.id, State.SUCCEEDED, output="own")], "w2") == []
    assert found(task_store, durable.id).output == "own"


def test_queued_task_ends_only_when_expected_to_be_queued(
    task_store: TaskStore, queued: Task
) -> None:
    assert not task_store.end(queued.id, State.FAILED)
    assert task_store.end(queued.id, State.FAILED, when=[State.QUEUED], error={"type": "X"})
    assert found(task_store, queued.id).error == {"type": "X"}
    assert task_store.claim(queued.id, "w") is None


def test_one_of_two_ends_wins(task_store: TaskStore, queued: Task) -> None:
    task_store.claim(queued.id, "w")
    start = threading.Barrier(8, timeout=20)

    def end(state: State) -> bool:
        start.wait()
        return task_store.end(queued.id, state)

    states = [ENDED[number % len(ENDED)] for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        wrote = list(pool.map(end, states))
    assert sum(wrote) == 1
    assert found(task_store, queued.id).state == states[wrote.index(True)]


# -- groups of changes


def step(task_id: str, number: int, **values: Any) -> Step:
    common: dict[str, Any] = {"command": "echo 😀", "started_at": now()}
    return Step(task=task_id, number=number, **common | values)


def test_group_of_changes_is_written_in_order(task_store: TaskStore, queued: Task) -> None:
    task_store.claim(queued.id, "w")
    task_store.apply(
        [
            Change.step_begun(step(queued.id, 1)),
            Change.step_ended(queued.id, 1, exit_code=0, stdout="é", truncated=True),
            Change.progress(queued.id, log=["half"], progress={"done": 1, "total": 2}),
            Change.step_begun(step(queued.id, 2, undo=True)),
            Change.step_ended(queued.id, 2, error="lost"),
            Change.ended(queued.id, State.LOST, log=["half", "all"]),
        ],
        "w",
    )
    first, second = task_store.steps(queued.id)
    assert (first.number, first.command, first.stdout) == (1, "echo 😀", "é")
    assert (first.exit_code, first.truncated, first.undo) == (0, True, False)
    assert (second.number, second.error, second.undo) == (2, "lost", True)
    assert found(task_store, queued.id).log == ["half", "all"]
    assert task_store.steps("no-such-task") == []


def test_group_is_written_as_a_whole_or_not_at_all(task_store: TaskStore, queued: Task) -> None:
    task_store.claim(queued.id, "w")
    twice = [Change.step_begun(step(queued.id, 1)), Change.step_begun(step(queued.id, 1))]
    with pytest.raises(Exception, match="UNIQUE"):
        task_store.apply([Change.ended(queued.id, State.SUCCEEDED), *twice], "w")
    assert found(task_store, queued.id).state == State.RUNNING
    assert task_store.steps(queued.id) == []
    assert task_store.end(queued.id, State.FAILED), "the record is usable afterwards"


# -- the limit on queued tasks


def test_waiting_tasks_of_a_user_are_limited(task_store: TaskStore) -> None:
    first, *_ = [task() for _ in range(2)]
    for each in (first, task()):
        task_store.add(each, max_queued=2)
    with pytest.raises(LimitReached, match="2 tasks of ada are waiting"):
        task_store.add(task(), max_queued=2)
    for other in (task(username="bob"), task(cluster="other")):
        task_store.add(other, max_queued=1)
    task_store.claim(first.id, "worker-1")
    task_store.add(task(), max_queued=2)


def test_waiting_tasks_are_counted_by_an_index_and_no_further_than_the_limit(
    task_store: TaskStore,
    database: Database,
) -> None:
    task_store.add(task(), max_queued=1)
    asked: list[tuple[str, Any]] = []

    def note(_: Any, cursor: Any, statement: str, values: Any, *more: Any) -> None:
        asked.append((statement, values))

    with database.write() as db:
        event.listen(db, "before_cursor_execute", note)
        assert _count_waiting(db, task().username, task().cluster, State.QUEUED, 1) == 1
        [(statement, values)] = asked
        plan = db.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    columns = "state=? AND worker=? AND username=? AND cluster=? AND batch=?"
    assert "LIMIT" in statement
    assert any(f"USING COVERING INDEX task_by_state ({columns})" in row[3] for row in plan), plan


def test_secrets_of_an_answer_are_taken_once_and_only_of_tasks_that_succeeded(
    task_store: TaskStore,
) -> None:
    waiting, failed, ended = task(), task(), task()
    for each in (waiting, failed, ended):
        task_store.add(each)
    for each, state in ((failed, State.FAILED), (ended, State.SUCCEEDED)):
        task_store.claim(each.id, "w")
        task_store.apply([Change.ended(each.id, state, encrypted_payload=b"secret")], "w")
    ids = [waiting.id, failed.id, ended.id]
    with ThreadPoolExecutor(2) as pool:
        taken = list(pool.map(lambda _: task_store.take_secrets(ids), range(2)))
    assert sorted(taken, key=len) == [set(), {ended.id}]
    assert found(task_store, ended.id).encrypted_payload is None
    assert found(task_store, waiting.id).encrypted_payload == waiting.encrypted_payload
