"""The record writer: groups, order, no loss, and ends published only once they are written."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resop.errors import QueueUnavailable, RecordRefused, RecordsUnavailable, ResopError
from resop.messaging.messages import Message, TaskEnded, TasksChanged
from resop.storage.changes import Change
from resop.storage.models import State, Step, Task, now
from resop.storage.tasks import TaskStore
from worker import record_writer
from worker.record_writer import RecordWriter

POISON = "values that the database does not take"
Start = Callable[..., RecordWriter]


class FakePublisher:
    """Keeps what it publishes; an end must be in the database by then."""

    def __init__(self, task_store: TaskStore) -> None:
        self.task_store = task_store
        self.results: dict[str, Any] = {}
        self.changes: list[set[str]] = []
        self.available = True

    def publish(self, *messages: Message) -> None:
        if not self.available:
            raise QueueUnavailable
        for message in messages:
            if isinstance(message, TasksChanged):
                self.changes.append(set(message.tasks))
                continue
            assert isinstance(message, TaskEnded)
            task = self.task_store.get(message.task)
            assert task is not None
            assert State(task.state).ended
            self.results[message.task] = message.result


@pytest.fixture
def publisher(task_store: TaskStore) -> FakePublisher:
    return FakePublisher(task_store)


@pytest.fixture
def start(
    task_store: TaskStore, publisher: FakePublisher, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Start]:
    """Start a writer with other limits."""
    monkeypatch.setattr(record_writer, "RETRY_SECONDS", 0.01)
    started = []

    def begin(**limits: Any) -> RecordWriter:
        writer = RecordWriter("w", task_store, publisher, **limits)  # type: ignore[arg-type]
        writer.start()
        started.append(writer)
        return writer

    yield begin
    for writer in started:
        writer.stop(5)


@pytest.fixture
def writer(start: Start) -> RecordWriter:
    return start()


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


def test_end_is_published_after_it_is_written(
    task_store: TaskStore, publisher: FakePublisher, writer: RecordWriter
) -> None:
    task = claimed(task_store, "t1")
    step = Step(task=task, number=1, command="id", started_at=now())
    writer.write_soon(Change.step_begun(step))
    writer.write_soon(Change.step_ended(task, 1, exit_code=0, stdout="x"))
    writer.write_end(task, Change.ended(task, State.SUCCEEDED, output=4)).result(5)
    assert publisher.results["t1"]["output"] == 4
    assert [step.exit_code for step in task_store.steps(task)] == [0]


def test_end_of_a_task_that_has_ended_otherwise_is_published_without_a_result(
    task_store: TaskStore, publisher: FakePublisher, writer: RecordWriter
) -> None:
    task = claimed(task_store, "t1")
    assert task_store.end(task, State.LOST)
    writer.write_end(task, Change.ended(task, State.SUCCEEDED, output=4)).result(5)
    assert publisher.results == {"t1": None}


def test_change_is_written_without_an_end(task_store: TaskStore, writer: RecordWriter) -> None:
    task = claimed(task_store, "t1")
    writer.write_soon(Change.progress(task, log=["half"], progress=None))
    writer.stop(5)
    found = task_store.get(task)
    assert found is not None
    assert found.log == ["half"]


def test_while_the_database_is_unavailable_nothing_is_dropped(
    task_store: TaskStore,
    publisher: FakePublisher,
    writer: RecordWriter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = [claimed(task_store, f"t{number}") for number in range(5)]
    apply, refusals = task_store.apply, iter(range(3))

    def unavailable_at_first(changes: list[Change], worker: str) -> list[Change]:
        if next(refusals, None) is not None:
            raise RecordsUnavailable
        return apply(changes, worker)

    monkeypatch.setattr(task_store, "apply", unavailable_at_first)
    ends = [writer.write_end(task, Change.ended(task, State.SUCCEEDED)) for task in tasks]
    for end in ends:
        end.result(5)
    assert set(publisher.results) == set(tasks)


def test_result_that_the_database_refuses_does_no_harm_to_others(
    task_store: TaskStore, publisher: FakePublisher, writer: RecordWriter
) -> None:
    good, bad = claimed(task_store, "good"), claimed(task_store, "bad")
    ends = [
        writer.write_end(bad, Change.ended(bad, State.SUCCEEDED, exit_code=1 << 80)),
        writer.write_end(good, Change.ended(good, State.SUCCEEDED, output="kept")),
    ]
    for end in ends:
        end.result(5)
    kept, refused = task_store.get(good), task_store.get(bad)
    assert kept is not None and refused is not None
    assert (kept.state, kept.output) == ("succeeded", "kept")
    assert refused.state == "failed"
    assert refused.error is not None
    assert refused.error["type"] == "RecordRefused"
    assert "a number is out of range" in refused.error["message"]
    assert set(publisher.results) == {good, bad}


def refusing(task_store: TaskStore, monkeypatch: pytest.MonkeyPatch, fault: ResopError) -> None:
    """Let the database refuse every change that has POISON among its values."""
    apply = task_store.apply

    def refuse(changes: list[Change], worker: str) -> list[Change]:
        if any(POISON in str(each.values) for each in changes):
            raise fault
        return apply(changes, worker)

    monkeypatch.setattr(task_store, "apply", refuse)


def test_refused_values_cost_nothing_but_themselves(
    task_store: TaskStore,
    publisher: FakePublisher,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    refusing(task_store, monkeypatch, RecordRefused("it is too large"))
    writer = start(linger_seconds=60.0)
    task, repaired, good = (claimed(task_store, name) for name in ("t1", "t2", "t3"))
    begun = writer.write_soon(
        Change.step_begun(Step(task=task, number=1, command="id", started_at=now()))
    )
    unbegun = writer.write_soon(
        Change.step_begun(Step(task=task, number=2, command=POISON, started_at=now()))
    )
    step = writer.write_soon(Change.step_ended(task, 1, seconds=1.5, exit_code=3, stdout=POISON))
    log = writer.write_soon(Change.progress(task, log=[POISON]))
    end = writer.write_end(task, Change.ended(task, State.SUCCEEDED, exit_code=0, output=POISON))
    error = {"type": "ContactLost", "message": "gone", "undone": [], "needs_repair": ["rm x"]}
    lost = Change.ended(repaired, State.LOST, error=error, stderr=POISON)
    writer.write_end(repaired, lost).result(5)
    writer.write_end(good, Change.ended(good, State.SUCCEEDED, output="kept")).result(5)
    for done in (begun, step, end):
        done.result(5)
    for refused in (unbegun, log):
        with pytest.raises(RecordRefused, match="it is too large"):
            refused.result(5)
    [recorded] = task_store.steps(task)
    assert (recorded.exit_code, recorded.stdout, recorded.truncated) == (3, None, True)
    assert recorded.error == "the result is not recorded: it is too large"
    found = {name: task_store.get(name) for name in (task, repaired, good)}
    states = {name: each and (each.state, each.exit_code) for name, each in found.items()}
    assert states == {
        task: ("failed", 0),
        repaired: ("lost", None),
        good: ("succeeded", None),
    }
    errors = {name: (each and each.error) or {} for name, each in found.items()}
    assert errors[task]["type"] == "RecordRefused" and "too large" in errors[task]["message"]
    assert errors[repaired]["type"] == "ContactLost"
    assert errors[repaired]["needs_repair"] == ["rm x"]
    assert set(publisher.results) == {task, repaired, good}
    assert POISON not in caplog.text


def test_change_that_breaks_every_connection_is_given_up_in_the_end(
    task_store: TaskStore, writer: RecordWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_writer, "SUSPECT_SECONDS", 0.05)
    suspect = RecordsUnavailable("the database has closed the connection")
    suspect.suspect = True
    refusing(task_store, monkeypatch, suspect)
    bad, good = claimed(task_store, "bad"), claimed(task_store, "good")
    ends = [
        writer.write_end(bad, Change.ended(bad, State.SUCCEEDED, output=POISON)),
        writer.write_end(good, Change.ended(good, State.SUCCEEDED)),
    ]
    for end in ends:
        end.result(5)
    states = [each and each.state for each in (task_store.get(bad), task_store.get(good))]
    assert states == ["failed", "succeeded"]


def test_change_is_not_given_up_while_the_database_takes_no_others(
    task_store: TaskStore, writer: RecordWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_writer, "SUSPECT_SECONDS", 0.0)
    suspect, checks = RecordsUnavailable(), []
    suspect.suspect = True
    apply = task_store.apply

    def check() -> None:
        checks.append(1)
        if len(checks) == 3:
            monkeypatch.setattr(task_store, "apply", apply)
        raise RecordsUnavailable

    refusing(task_store, monkeypatch, suspect)
    monkeypatch.setattr(task_store, "check", check)
    task = claimed(task_store, "t1")
    writer.write_end(task, Change.ended(task, State.SUCCEEDED, output=POISON)).result(5)
    found = task_store.get(task)
    assert found is not None and (found.state, found.output) == ("succeeded", POISON)


def test_change_that_an_attempt_without_an_answer_has_written_is_not_refused(
    task_store: TaskStore, writer: RecordWriter
) -> None:
    task = claimed(task_store, "t1")
    step = Step(task=task, number=1, command="id", started_at=now())
    task_store.apply([Change.step_begun(step)], "w")
    writer.write_now(Change.step_begun(step)).result(5)
    assert len(task_store.steps(task)) == 1


def test_changes_are_written_without_redis(
    task_store: TaskStore, publisher: FakePublisher, writer: RecordWriter
) -> None:
    publisher.available = False
    task = claimed(task_store, "t1")
    writer.write_end(task, Change.ended(task, State.SUCCEEDED)).result(5)
    found = task_store.get(task)
    assert found is not None
    assert found.state == "succeeded"


def test_changes_of_running_tasks_are_published_now_and_then(
    task_store: TaskStore, publisher: FakePublisher, writer: RecordWriter
) -> None:
    running, ended = claimed(task_store, "t1"), claimed(task_store, "t2")
    for number in range(100):
        writer.write_soon(Change.progress(running, log=[str(number)]))
    writer.write_soon(Change.progress(ended, log=["x"]))
    writer.write_end(ended, Change.ended(ended, State.SUCCEEDED)).result(5)
    for _ in range(500):
        if publisher.changes:
            break
        time.sleep(0.01)
    assert publisher.changes == [{"t1"}]
    found = task_store.get(running)
    assert found is not None and found.log == ["99"]


def test_change_too_early_to_publish_is_published_soon_after(
    task_store: TaskStore, publisher: FakePublisher, writer: RecordWriter
) -> None:
    tasks = [claimed(task_store, f"t{number}") for number in range(2)]
    began = time.monotonic()
    for task in tasks:
        writer.write_now(Change.progress(task, log=["x"])).result(5)
    for _ in range(500):
        if len(publisher.changes) == 2:
            break
        time.sleep(0.01)
    assert publisher.changes == [{"t0"}, {"t1"}]
    assert time.monotonic() - began >= record_writer.PUBLISH_INTERVAL


def test_changes_that_keep_coming_are_written_all_the_same(
    task_store: TaskStore, writer: RecordWriter
) -> None:
    task = claimed(task_store, "t1")
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        writer.write_soon(Change.progress(task, log=["so far"]))
        time.sleep(0.01)
    found = task_store.get(task)
    assert found is not None and found.log == ["so far"]


def test_urgent_change_does_not_wait_for_lingering_ones_and_neither_does_the_stop(
    task_store: TaskStore, start: Start
) -> None:
    writer = start(linger_seconds=60.0)
    task = claimed(task_store, "t1")
    for number in range(100):
        before = writer.write_soon(Change.progress(task, log=["before"]))
        urgent = writer.write_now(Change.progress(task, log=[str(number)]))
        writer.write_soon(Change.progress(task, log=["after"]))
        urgent.result(5)
        assert before.done()
    after = writer.write_soon(Change.progress(task, log=["after"]))
    writer.stop(5)
    assert after.done()
    found = task_store.get(task)
    assert found is not None and found.log == ["after"]


def test_more_changes_than_one_transaction_takes_are_written_in_order(
    task_store: TaskStore, start: Start
) -> None:
    writer = start(max_changes=7, linger_seconds=60.0)
    task = claimed(task_store, "t1")
    notes = [writer.write_soon(Change.progress(task, log=[str(number)])) for number in range(50)]
    writer.write_now(Change.progress(task, log=["last"])).result(5)
    assert all(note.done() for note in notes)
    found = task_store.get(task)
    assert found is not None and found.log == ["last"]
