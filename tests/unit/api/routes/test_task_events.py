"""A stream of events continues without a subscription, and ends with its login."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from api.routes import task_events
from api.state.task_watchers import TaskWatches
from api.tasks.event_stream import Cursor
from resop.security.tokens import Token
from resop.storage.models import State, Step, Task, now


class FakeStore:
    """A running task that changes without any message."""

    def __init__(self) -> None:
        self.task = Task(
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
            started_at=now(),
        )

    def get(self, task_id: str) -> Task:
        return self.task.model_copy()

    def steps(self, task_id: str, *, after: int, output: bool) -> list[Step]:
        return []

    def ends(self, task_id: str, *, after: int) -> dict[int, int]:
        return {}

    def outputs(self, task_id: str, steps: list[int]) -> Any:
        return iter(())


class Logins:
    """The login of the stream, valid or not."""

    valid = True

    async def is_valid(self, token: Token) -> bool:
        return self.valid


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def services(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(task_events, "STREAM_POLL_SECONDS", 0.02)
    monkeypatch.setattr("api.state.task_watchers.MIN_REFRESH_SECONDS", 0)
    fake: Any = store
    return SimpleNamespace(
        storage=SimpleNamespace(step_outputs=store),
        access=SimpleNamespace(logins=Logins()),
        messaging=SimpleNamespace(
            watches=TaskWatches(fake, fake), subscriber=SimpleNamespace(connected=False)
        ),
    )


def stream(services: Any) -> Any:
    token = Token("ada", "hpc", "c", "00", int(time.time()) + 60)
    return task_events._stream(services, token, "t1", Cursor())


async def test_without_a_subscription_changes_are_found_by_reading(
    store: FakeStore, services: Any
) -> None:
    async with asyncio.timeout(5):
        events = stream(services)
        assert (await anext(events)).startswith("retry:")
        assert "event: state" in await anext(events)
        store.task.log = ["a line"]
        assert "a line" in await anext(events)
        store.task.state, store.task.ended_at = State.SUCCEEDED, now()
        assert "event: done" in await anext(events)
        assert [each async for each in events] == []


async def test_a_stream_ends_with_its_login(services: Any) -> None:
    async with asyncio.timeout(5):
        events = stream(services)
        assert (await anext(events)).startswith("retry:")
        assert "event: state" in await anext(events)
        services.access.logins.valid = False
        assert [each async for each in events] == []
