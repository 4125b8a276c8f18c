"""Task watches: all watchers of a task share one snapshot, and are woken by changes."""

import asyncio
from typing import Any

import pytest

from api.state.task_watchers import TaskWatches
from resop.errors import RecordsUnavailable, UnknownTask
from resop.messaging.messages import Resync, TaskEnded, TasksChanged
from resop.storage.models import State, Step, Task, now


class FakeTaskStore:
    """One task and its steps; counts how often it is read."""

    def __init__(self) -> None:
        self.found: Task | None = Task(
            id="t1",
            kind="operation",
            operator="utils",
            action="x",
            username="ada",
            cluster="hpc",
            credential="c",
            options={},
            time_limit=9,
            state=State.RUNNING,
        )
        self.all: list[Step] = []
        self.rows: dict[int, int] = {}
        self.reads = 0
        self.asked_after: list[int] = []
        self.away = False

    def add(self, number: int, seconds: float | None) -> None:
        self.all = [each for each in self.all if each.number != number]
        self.all.append(
            Step(task="t1", number=number, command="x", started_at=now(), seconds=seconds)
        )
        self.all.sort(key=lambda each: each.number)

    def get(self, task_id: str) -> Task | None:
        self.reads += 1
        if self.away:
            raise RecordsUnavailable
        return self.found

    def ends(self, task_id: str, *, after: int) -> dict[int, int]:
        return {step: row for step, row in self.rows.items() if row > after}

    def steps(self, task_id: str, *, after: int, output: bool) -> list[Step]:
        self.asked_after.append(after)
        assert not output
        return [each for each in self.all if each.number > after]


@pytest.fixture
def store() -> FakeTaskStore:
    return FakeTaskStore()


@pytest.fixture
def watches(store: FakeTaskStore) -> TaskWatches:
    untyped: Any = store
    return TaskWatches(untyped, untyped)


async def test_a_thousand_watchers_read_the_record_once_a_change(
    watches: TaskWatches, store: FakeTaskStore
) -> None:
    seen = []
    looked = asyncio.Barrier(1001)

    async def watch() -> None:
        with watches.watch("t1") as watch:
            for _ in range(3):
                changed = watch.changed
                seen.append(len((await watch.snapshot()).steps))
                await looked.wait()
                await changed.wait()

    watchers = [asyncio.create_task(watch()) for _ in range(1000)]
    for number in (1, 2, 3):
        await looked.wait()
        store.add(number, None)
        watches.on_message(TasksChanged(["t0", "t1", "t2"]))
    await asyncio.gather(*watchers)
    assert store.reads == 3
    assert seen == [0] * 1000 + [1] * 1000 + [2] * 1000
    assert not watches._watches


async def test_steps_that_have_ended_are_not_read_again(
    watches: TaskWatches, store: FakeTaskStore
) -> None:
    with watches.watch("t1") as watch:
        for number, seconds in ((1, 1.0), (2, None), (3, 1.0), (2, 2.0), (4, None)):
            store.add(number, seconds)
            watches.on_message(TasksChanged(["t1"]))
            seen = await watch.snapshot()
            assert seen.steps == store.all
    assert store.asked_after == [0, 1, 1, 1, 3]


async def test_rows_of_output_are_known_by_the_last_of_each_step(
    watches: TaskWatches, store: FakeTaskStore
) -> None:
    with watches.watch("t1") as watch:
        before = await watch.snapshot()
        for step, row in ((1, 3), (2, 4), (1, 7)):
            store.rows[step] = row
            watches.on_message(TasksChanged(["t1"]))
            assert (await watch.snapshot()).output_rows == store.rows
        assert before.output_rows == {}


async def test_what_might_have_been_missed_wakes_all_who_watch(watches: TaskWatches) -> None:
    with watches.watch("t1") as one, watches.watch("t2") as other:
        for message in (Resync(), TasksChanged(["t1", "t2"])):
            events = [one.changed, other.changed]
            watches.on_message(message)
            assert all(event.is_set() for event in events)
        events = [one.changed, other.changed]
        watches.on_message(TaskEnded("t1"))
        assert [event.is_set() for event in events] == [True, False]


async def test_fault_of_one_reading_is_not_that_of_the_next(
    watches: TaskWatches, store: FakeTaskStore
) -> None:
    with watches.watch("t1") as watch:
        store.away = True
        with pytest.raises(RecordsUnavailable):
            await watch.snapshot()
        store.away = False
        watches.on_message(TasksChanged(["t1"]))
        assert (await watch.snapshot()).task == store.found
        store.found = None
        watches.on_message(TasksChanged(["t1"]))
        with pytest.raises(UnknownTask):
            await watch.snapshot()


async def test_watcher_that_goes_away_takes_no_reading_from_others(
    watches: TaskWatches, store: FakeTaskStore
) -> None:
    with watches.watch("t1") as watch:
        first, second = (asyncio.create_task(watch.snapshot()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).task == store.found
        assert first.cancelled() or first.done()
    assert store.reads == 1
