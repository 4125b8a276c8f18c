"""The recorder: grouped, in order, nothing dropped, ends told only when they are written."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from resop.errors import QueueUnavailable, RecordsUnavailable
from resop.storage.changes import Change
from resop.storage.models import State, Step, Task, now
from resop.storage.tasks import TaskStore
from worker import record_writer as module
from worker.record_writer import RecordWriter


class FakeHerald:
    """Keeps what it was to tell, and looks whether it is in the record by then."""

    def __init__(self, task_store: TaskStore) -> None:
        self.task_store = task_store
        self.told: dict[str, Any] = {}
        self.changes: list[set[str]] = []
        self.away = False

    def ended(self, results: dict[str, Any], whose: dict[str, str]) -> None:
        if self.away:
            raise QueueUnavailable
        for task_id in results:
            task = self.task_store.get(task_id)
            assert task is not None
            assert State(task.state).ended
        self.told |= results

    def changed(self, task_ids: set[str]) -> None:
        if self.away:
            raise QueueUnavailable
        self.changes.append(set(task_ids))


@pytest.fixture
def herald(task_store: TaskStore) -> FakeHerald:
    return FakeHerald(task_store)


@pytest.fixture
def recorder(
    task_store: TaskStore, herald: FakeHerald, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RecordWriter]:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    recorder = RecordWriter(task_store, herald)  # type: ignore[arg-type]
    recorder.start()
    yield recorder
    recorder.stop(5)


def claimed(task_store: TaskStore, task_id: str) -> str:
    task_store.add(
        Task(
            id=task_id,
            kind="operation",
            operator="core",
            action="run",
            username="ada",
            cluster="hpc",
            credential="c",
            options={},
            time_limit=10,
        )
    )
    assert task_store.claim(task_id, "w")
    return task_id


def test_an_end_is_told_after_it_is_written(
    task_store: TaskStore, herald: FakeHerald, recorder: RecordWriter
) -> None:
    task = claimed(task_store, "t1")
    step = Step(task=task, number=1, command="id", started_at=now())
    recorder.write_soon(Change.step_begun(step))
    recorder.write_soon(Change.step_ended(task, 1, exit_code=0, stdout="x"))
    recorder.write_end(task, Change.ended(task, State.SUCCEEDED, output=4)).result(5)
    assert herald.told["t1"]["output"] == 4
    assert [step.exit_code for step in task_store.steps(task)] == [0]


def test_what_is_noted_is_written_without_an_end(
    task_store: TaskStore, recorder: RecordWriter
) -> None:
    task = claimed(task_store, "t1")
    recorder.write_soon(Change.progress(task, log=["half"], progress=None))
    recorder.stop(5)
    found = task_store.get(task)
    assert found is not None
    assert found.log == ["half"]


def test_while_the_database_is_away_nothing_is_dropped(
    task_store: TaskStore,
    herald: FakeHerald,
    recorder: RecordWriter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = [claimed(task_store, f"t{number}") for number in range(5)]
    apply, refusals = task_store.apply, iter(range(3))

    def away_at_first(changes: list[Change]) -> None:
        if next(refusals, None) is not None:
            raise RecordsUnavailable
        apply(changes)

    monkeypatch.setattr(task_store, "apply", away_at_first)
    ends = [recorder.write_end(task, Change.ended(task, State.SUCCEEDED)) for task in tasks]
    for end in ends:
        end.result(5)
    assert set(herald.told) == set(tasks)


def test_a_result_that_the_database_refuses_does_not_take_others_with_it(
    task_store: TaskStore, herald: FakeHerald, recorder: RecordWriter
) -> None:
    good, bad = claimed(task_store, "good"), claimed(task_store, "bad")
    ends = [
        recorder.write_end(bad, Change.ended(bad, State.SUCCEEDED, exit_code=1 << 80)),
        recorder.write_end(good, Change.ended(good, State.SUCCEEDED, output="kept")),
    ]
    for end in ends:
        end.result(5)
    kept, refused = task_store.get(good), task_store.get(bad)
    assert kept is not None and refused is not None
    assert (kept.state, kept.output) == ("succeeded", "kept")
    assert refused.state == "failed"
    assert refused.error is not None
    assert refused.error["type"] == "ServiceFault"


def test_an_absent_redis_does_not_stop_the_recording(
    task_store: TaskStore, herald: FakeHerald, recorder: RecordWriter
) -> None:
    herald.away = True
    task = claimed(task_store, "t1")
    recorder.write_end(task, Change.ended(task, State.SUCCEEDED)).result(5)
    found = task_store.get(task)
    assert found is not None
    assert found.state == "succeeded"


def test_those_who_watch_are_told_of_changes_of_running_tasks_now_and_then(
    task_store: TaskStore, herald: FakeHerald, recorder: RecordWriter
) -> None:
    running, ended = claimed(task_store, "t1"), claimed(task_store, "t2")
    for number in range(100):
        recorder.write_soon(Change.progress(running, log=[str(number)]))
    recorder.write_soon(Change.progress(ended, log=["x"]))
    recorder.write_end(ended, Change.ended(ended, State.SUCCEEDED)).result(5)
    for _ in range(500):
        if herald.changes:
            break
        time.sleep(0.01)
    assert herald.changes == [{"t1"}]
    found = task_store.get(running)
    assert found is not None and found.log == ["99"]


def test_what_is_noted_again_and_again_is_written_all_the_same(
    task_store: TaskStore, recorder: RecordWriter
) -> None:
    task = claimed(task_store, "t1")
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        recorder.write_soon(Change.progress(task, log=["so far"]))
        time.sleep(0.01)
    found = task_store.get(task)
    assert found is not None and found.log == ["so far"]


def test_what_hurries_does_not_wait_for_what_lingers_nor_does_the_end(
    task_store: TaskStore, recorder: RecordWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER_SECONDS", 60.0)
    task = claimed(task_store, "t1")
    for number in range(100):
        before = recorder.write_soon(Change.progress(task, log=["before"]))
        hurried = recorder.write_now(Change.progress(task, log=[str(number)]))
        recorder.write_soon(Change.progress(task, log=["after"]))
        hurried.result(5)
        assert before.done()
    after = recorder.write_soon(Change.progress(task, log=["after"]))
    recorder.stop(5)
    assert after.done()
    found = task_store.get(task)
    assert found is not None and found.log == ["after"]


def test_more_than_one_transaction_takes_is_written_in_order(
    task_store: TaskStore, recorder: RecordWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER_SECONDS", 60.0)
    monkeypatch.setattr(module, "GROUP", 7)
    task = claimed(task_store, "t1")
    notes = [recorder.write_soon(Change.progress(task, log=[str(number)])) for number in range(50)]
    recorder.write_now(Change.progress(task, log=["last"])).result(5)
    assert all(note.done() for note in notes)
    found = task_store.get(task)
    assert found is not None and found.log == ["last"]
