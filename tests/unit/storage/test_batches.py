"""Batches: written as a whole, dispatched in turn and once, cancelled, deleted."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from resop.errors import RecordsUnavailable
from resop.storage.batch_dispatch import dispatch_batches
from resop.storage.batches import TASKS_PER_TRANSACTION, BatchStore
from resop.storage.changes import Change
from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.idempotency_keys import IdempotencyKeyStore
from resop.storage.models import TASK_TAG, Batch, Credential, IdempotencyKey, State, Task, now
from resop.storage.task_search import TaskFilter, TaskSearch
from resop.storage.tasks import TaskStore
from resop.storage.workers import WorkerStore
from tests.support.tasks import new_batch, new_task

HOUR = timedelta(hours=1)


@pytest.fixture
def batches(database: Database) -> BatchStore:
    return BatchStore(database)


def task(of: Batch | None, number: int = 0, **values: Any) -> Task:
    whose = {"username": of.username, "cluster": of.cluster} if of else {}
    in_batch = {"batch": of.id, "number": number, "parameters": {"n": number}} if of else {}
    return new_task(options={"input": [str(number)]}, **whose | in_batch | values)


def added(batches: BatchStore, size: int, username: str = "ada", **values: Any) -> Batch:
    """Add a ready batch with `size` tasks."""
    new = new_batch(username=username, size=size, **values)
    batches.add(new, [task(new, number) for number in range(size)])
    return new


def numbers(task_store: TaskStore, dispatched: list[tuple[str, str, str]]) -> list[int | None]:
    found = [task_store.get(task_id) for task_id, *_ in dispatched]
    return [each.number for each in found if each]


def run(task_store: TaskStore, task_id: str, state: State = State.SUCCEEDED) -> None:
    assert task_store.claim(task_id, "w")
    task_store.apply([Change.ended(task_id, state)], "w")


# -- create and read


def test_batch_reads_back_with_all_its_tasks_in_order(batches: BatchStore) -> None:
    made = added(batches, TASKS_PER_TRANSACTION + 1, sweep={"n": [1]}, tags=["t"], at_once=3)
    assert made.ready_at is not None
    read = batches.get(made.id)
    assert read is not None and read.model_dump() == made.model_dump()
    assert batches.counts([made.id]) == {made.id: {State.QUEUED: TASKS_PER_TRANSACTION + 1}}
    tasks = list(batches.whole_tasks(made.id))
    assert [each.number for each in tasks] == list(range(TASKS_PER_TRANSACTION + 1))
    assert (tasks[7].parameters, tasks[7].encrypted_payload) == ({"n": 7}, b"\x00sealed")
    page = batches.tasks(made.id, limit=3, after=5, state=State.QUEUED)
    assert [each["number"] for each in page] == [6, 7, 8] and "output" not in page[0]


def test_batch_that_was_not_written_completely_does_not_exist(
    task_store: TaskStore, database: Database, batches: BatchStore
) -> None:
    new = new_batch(size=2)
    twice = task(new)
    with pytest.raises(Exception, match="UNIQUE"):
        batches.add(new, [twice, twice])
    assert batches.get(new.id) is None and dispatch_batches(database, 9).tasks == []
    assert task_store.get(twice.id) is None


def test_batch_of_a_dead_writer_is_invisible_and_deleted_a_few_tasks_at_a_time(
    task_store: TaskStore,
    worker_store: WorkerStore,
    database: Database,
    batches: BatchStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    new = new_batch(size=5)
    tasks = [task(new, number, tags=["x"]) for number in range(5)]
    with monkeypatch.context() as dying:
        dying.setattr(batches, "_make_ready", lambda *_: None)
        batches.add(new, tasks)
    assert batches.get(new.id) is None
    assert batches.batches("ada", "tango", limit=9) == []
    assert (dispatch_batches(database, 9).tasks, worker_store.waiting_tasks(now() + HOUR, 9)) == (
        [],
        [],
    )
    with database.read() as db:
        assert len(db.execute(select(TASK_TAG)).all()) == 5
    assert batches.delete_unready(now() - HOUR, 3) == 0
    assert [batches.delete_unready(now(), 3) for _ in range(3)] == [3, 2, 0]
    assert not any(task_store.get(each.id) for each in tasks)
    with database.read() as db:
        assert db.execute(select(TASK_TAG)).all() == []
    with pytest.raises(RecordsUnavailable):  # should it live after all
        batches._make_ready(new, None, None)


def test_key_in_use_returns_the_first_batch_and_nothing_is_left_of_the_second(
    task_store: TaskStore, key_store: IdempotencyKeyStore, batches: BatchStore
) -> None:
    first, second = new_batch(size=1), new_batch(size=1)
    keys = [IdempotencyKey(id="k", digest="d", task=each.id) for each in (first, second)]
    assert batches.add(first, [task(first)], keys[0]) is None
    late = task(second)
    earlier = batches.add(second, [late], keys[1])
    assert earlier is not None and earlier.task == first.id
    assert task_store.get(late.id) is None and batches.get(second.id) is None
    key_store.delete("k")
    assert batches.add(second, [late], keys[1]) is None


def test_pages_of_batches_are_a_users_own_newest_first(batches: BatchStore) -> None:
    mine = [added(batches, 1) for _ in range(3)]
    added(batches, 1, "eve")
    added(batches, 1, cluster="waltz")
    page = batches.batches("ada", "tango", limit=2)
    assert [each.id for each in page] == [mine[2].id, mine[1].id]
    rest = batches.batches("ada", "tango", limit=2, before=page[-1].id)
    assert [each.id for each in rest] == [mine[0].id]


def test_tasks_are_found_by_their_batch(
    task_store: TaskStore, database: Database, batches: BatchStore
) -> None:
    made = added(batches, 2)
    task_store.add(task(None))
    found = (
        TaskSearch(database).page("ada", "tango", limit=9, matching=TaskFilter(batch=made.id)).tasks
    )
    assert sorted(each["number"] for each in found) == [0, 1]


# -- dispatch


def test_a_few_are_in_flight_and_the_next_follow_as_they_end(
    task_store: TaskStore, database: Database, batches: BatchStore
) -> None:
    made = added(batches, 5)
    first = dispatch_batches(database, 2).tasks
    assert numbers(task_store, first) == [0, 1]
    assert dispatch_batches(database, 2).tasks == []
    assert {cluster for _, cluster, _ in first} == {"tango"}
    task_store.claim(first[0][0], "w")
    assert dispatch_batches(database, 2).tasks == []
    task_store.apply([Change.ended(first[0][0], State.FAILED)], "w")
    assert numbers(task_store, dispatch_batches(database, 2).tasks) == [2]
    assert batches.counts([made.id]) == {made.id: {State.FAILED: 1, State.QUEUED: 4}}


def test_slots_belong_to_each_cluster_and_are_shared_fairly(
    task_store: TaskStore, database: Database, batches: BatchStore
) -> None:
    long, short = added(batches, 50), added(batches, 50, "eve", at_once=3)
    far = added(batches, 1, "eve", cluster="waltz")
    dispatched = dispatch_batches(database, 8).tasks
    of = [found.batch for task_id, *_ in dispatched if (found := task_store.get(task_id))]
    assert [of.count(each.id) for each in (long, short, far)] == [5, 3, 1]


def test_concurrent_dispatchers_dispatch_each_task_once_and_respect_at_once(
    task_store: TaskStore, database: Database, batches: BatchStore
) -> None:
    made = added(batches, 40, at_once=4)
    start = threading.Barrier(6, timeout=20)

    def dispatch_and_run(_: int) -> list[str]:
        start.wait()
        mine: list[str] = []
        for _ in range(200):
            dispatched = [task_id for task_id, *_ in dispatch_batches(database, 30).tasks]
            counts = batches.counts([made.id])[made.id]
            assert counts.get(State.RUNNING, 0) <= 4
            for task_id in dispatched:
                run(task_store, task_id)
            mine += dispatched
            if counts.get(State.SUCCEEDED) == 40:
                break
        return mine

    with ThreadPoolExecutor(6) as pool:
        dispatched = [task_id for mine in pool.map(dispatch_and_run, range(6)) for task_id in mine]
    assert len(dispatched) == len(set(dispatched)) == 40


def test_dispatched_task_with_a_lost_message_is_waiting_and_an_undispatched_one_is_not(
    task_store: TaskStore, worker_store: WorkerStore, database: Database, batches: BatchStore
) -> None:
    added(batches, 3)
    alone = task(None, created_at=now() - HOUR)
    task_store.add(alone)
    [(dispatched, *_)] = dispatch_batches(database, 1).tasks
    assert [each for each, *_ in worker_store.waiting_tasks(now() - timedelta(minutes=1), 9)] == [
        alone.id
    ]
    assert {each for each, *_ in worker_store.waiting_tasks(now() + HOUR, 9)} == {
        alone.id,
        dispatched,
    }
    task_store.claim(dispatched, "w")
    task_store.unclaim(dispatched, "w")
    assert dispatched in {each for each, *_ in worker_store.waiting_tasks(now() + HOUR, 9)}
    assert dispatch_batches(database, 1).tasks == []


def test_batch_ends_with_its_last_task_and_is_reported_once(
    task_store: TaskStore, database: Database, batches: BatchStore
) -> None:
    made = added(batches, 2)
    for state in (State.SUCCEEDED, State.LOST):
        dispatched = dispatch_batches(database, 1)
        assert dispatched.ended == []
        run(task_store, dispatched.tasks[0][0], state)
    assert dispatch_batches(database, 1).ended == [made.id]
    assert dispatch_batches(database, 1).ended == []
    ended = batches.get(made.id)
    assert ended is not None and ended.ended_at is not None
    assert batches.ran_since(made.id, ended.created_at) == 2
    assert batches.options_and_parameters(made.id, [State.LOST, State.FAILED]) == [
        ({"input": ["1"]}, {"n": 1})
    ]


def test_tasks_of_a_session_that_a_dead_worker_held_end_dispatched_or_not(
    task_store: TaskStore,
    credential_store: CredentialStore,
    worker_store: WorkerStore,
    database: Database,
    batches: BatchStore,
) -> None:
    for worker in ("dead", "alive"):
        held: dict[str, Any] = {
            "username": "ada",
            "cluster": "tango",
            "kind": "held",
            "expires_at": now() + HOUR,
        }
        credential_store.add(Credential(id=f"by-{worker}", worker=worker, **held))
    worker_store.heartbeat("alive")
    made = new_batch(size=4)
    batches.add(
        made, [task(made, n, credential="by-dead", created_at=now() - HOUR) for n in (1, 2)]
    )
    of_alive, of_none = (task(None, credential=each) for each in ("by-alive", "of a key"))
    for each in (of_alive, of_none):
        task_store.add(each)
    assert worker_store.heartbeats()["dead"] is None
    assert len(dispatch_batches(database, 1).tasks) == 1
    error = {"type": "SessionExpired"}
    assert worker_store.end_unheld(["dead"], error) == 2
    assert worker_store.end_unheld(["dead"], error) == 0
    assert batches.counts([made.id]) == {made.id: {State.FAILED: 2}}
    assert {each.error["type"] for each in batches.whole_tasks(made.id) if each.error} == {
        "SessionExpired"
    }
    assert {each.encrypted_payload for each in batches.whole_tasks(made.id)} == {None}
    assert dispatch_batches(database, 1).ended == [made.id]
    left = [task_store.get(each.id) for each in (of_alive, of_none)]
    assert [each and each.state for each in left] == [State.QUEUED] * 2


# -- cancel and delete


def test_cancelled_batch_ends_queued_tasks_and_marks_running_ones(
    task_store: TaskStore, database: Database, batches: BatchStore
) -> None:
    made = added(batches, 6)
    ended, running, dispatched = (task_id for task_id, *_ in dispatch_batches(database, 3).tasks)
    other = added(batches, 1)
    run(task_store, ended)
    task_store.claim(running, "w")
    for _ in range(2):
        assert batches.cancel(made.id, {"type": "TaskCancelled"}) == [running]
    assert task_store.cancel_requested("w") == [running]
    assert batches.counts([made.id, other.id]) == {
        made.id: {State.SUCCEEDED: 1, State.RUNNING: 1, State.CANCELLED: 4},
        other.id: {State.QUEUED: 1},
    }
    gone = task_store.get(dispatched)
    assert gone is not None and (gone.encrypted_payload, gone.error) == (
        None,
        {"type": "TaskCancelled"},
    )
    assert task_store.claim(dispatched, "w") is None


def test_batch_that_is_cancelled_without_running_tasks_has_ended(batches: BatchStore) -> None:
    made = added(batches, 3)
    assert batches.cancel(made.id, {"type": "TaskCancelled"}) == []
    found = batches.get(made.id)
    assert found is not None and found.cancel_asked_at is not None and found.ended_at is not None
    again = found.model_dump()
    batches.cancel(made.id, {})
    found = batches.get(made.id)
    assert found is not None and found.model_dump() == again


def test_old_batch_is_deleted_after_its_tasks(database: Database, batches: BatchStore) -> None:
    made = added(batches, 2, created_at=now() - 2 * HOUR)
    added(batches, 0)
    assert batches.delete_old(now() - HOUR, 9) == 0
    batches.cancel(made.id, {})
    assert TaskStore(database).delete_ended(now() + HOUR, 9) == 2
    assert (batches.delete_old(now() - HOUR, 9), batches.get(made.id)) == (1, None)
