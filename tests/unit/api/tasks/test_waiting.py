"""Waiting for the end of a task: by message, and without a subscription by reading."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from api.state.task_waiters import CompletionWaiters
from api.tasks import waiting
from api.tasks.waiting import wait_for_end
from resop.errors import RecordsUnavailable
from resop.messaging.messages import TaskEnded
from resop.storage.models import State, Task


def task(state: State = State.RUNNING) -> Task:
    return Task(
        id="t1",
        kind="command",
        operator="utils",
        action="id",
        username="ada",
        cluster="hpc",
        credential="c",
        options={},
        time_limit=60,
        state=state,
    )


class FakeTaskStore:
    """One task, which has ended from the `ends_at`th time it is read."""

    def __init__(self, ends_at: int, *, fails_until: int = 0) -> None:
        self.reads = 0
        self._ends_at = ends_at
        self._fails_until = fails_until

    def get(self, task_id: str) -> Task:
        self.reads += 1
        if self.reads < self._fails_until:
            raise RecordsUnavailable
        return task(State.SUCCEEDED if self.reads >= self._ends_at else State.RUNNING)


def services(store: FakeTaskStore, *, connected: bool) -> Any:
    return SimpleNamespace(
        storage=SimpleNamespace(tasks=store),
        messaging=SimpleNamespace(
            subscriber=SimpleNamespace(connected=connected), waiters=CompletionWaiters()
        ),
    )


async def test_a_message_with_the_result_ends_the_wait_without_reading() -> None:
    store = FakeTaskStore(ends_at=1)
    parts = services(store, connected=True)
    with parts.messaging.waiters.waiting("t1") as waiter:
        result = {"state": "succeeded", "output": "4"}
        parts.messaging.waiters.on_task_ended(TaskEnded("t1", result=result))
        ended = await wait_for_end(parts, task(), waiter, time.monotonic() + 60)
    assert (ended.state, ended.output, store.reads) == (State.SUCCEEDED, "4", 0)


async def test_without_a_subscription_the_end_is_found_by_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "TASK_POLL_SECONDS", 0.01)
    store = FakeTaskStore(ends_at=3)
    parts = services(store, connected=False)
    with parts.messaging.waiters.waiting("t1") as waiter:
        ended = await wait_for_end(parts, task(), waiter, time.monotonic() + 60)
    assert (ended.state, store.reads) == (State.SUCCEEDED, 3)


@pytest.mark.parametrize("connected", [True, False])
async def test_an_outage_of_the_database_does_not_end_the_wait(
    connected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "TASK_POLL_SECONDS", 0.01)
    store = FakeTaskStore(ends_at=5, fails_until=5)
    parts = services(store, connected=connected)
    with parts.messaging.waiters.waiting("t1") as waiter:
        waiter.on_end(None)  # the subscription was lost and renewed
        ended = await wait_for_end(parts, task(), waiter, time.monotonic() + 60)
    assert (ended.state, store.reads) == (State.SUCCEEDED, 5)


async def test_in_an_outage_the_task_is_as_it_was_last_seen() -> None:
    store = FakeTaskStore(ends_at=1, fails_until=10**6)
    parts = services(store, connected=False)
    with parts.messaging.waiters.waiting("t1") as waiter:
        found = await wait_for_end(parts, task(), waiter, time.monotonic() + 0.05)
    assert found.state == State.RUNNING and store.reads


@pytest.mark.parametrize("connected", [True, False])
async def test_the_wait_is_over_at_its_deadline(connected: bool) -> None:
    store = FakeTaskStore(ends_at=100)
    parts = services(store, connected=connected)
    with parts.messaging.waiters.waiting("t1") as waiter:
        found = await wait_for_end(parts, task(), waiter, time.monotonic() + 0.05)
    assert (found.state, store.reads) == (State.RUNNING, 1)
