"""A task that is cancelled while its worker connects."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from resop.actions.execute import ActionOutcome
from resop.errors import TaskCancelled
from worker.approval_check import ApprovalCheck
from worker.engine import TaskRunner


class SlowOpener:
    """Opens a task as soon as `may_open` is set."""

    def __init__(self) -> None:
        self.may_open = asyncio.Event()
        self.cancelled: list[bool] = []
        control = SimpleNamespace(cancel=lambda: self.cancelled.append(True))
        executor = SimpleNamespace(control=control)
        self.opened = SimpleNamespace(executor=executor, resumable=False)

    def decrypt(self, _: Any) -> dict[str, Any]:
        return {}

    async def open(self, *_: Any) -> Any:
        await self.may_open.wait()
        return self.opened


@pytest.mark.parametrize("resume_count", [None, 0, 1])
async def test_steps_of_an_earlier_worker_are_ended_when_the_task_is_cancelled(
    monkeypatch: pytest.MonkeyPatch, resume_count: int | None
) -> None:
    opener, nothing = SlowOpener(), SimpleNamespace(reason_of=lambda _: None)
    runner = TaskRunner(
        *("w1", opener, nothing, nothing, nothing, nothing, nothing, nothing, 1),  # type: ignore[arg-type]
        approval_check=ApprovalCheck(*[nothing] * 5),  # type: ignore[arg-type]
        on_batch_task_end=lambda: None,
        audit=nothing,  # type: ignore[arg-type]
    )
    ends: list[Any] = []

    async def allow(*_: Any) -> None:
        """Permit everything."""

    async def perform(*_: Any) -> ActionOutcome:
        return ActionOutcome(error=TaskCancelled("its step was ended", ended=True))

    async def record(task: Any, opened: Any, outcome: ActionOutcome, began: float) -> None:
        ends.append(outcome.error)

    monkeypatch.setattr(runner, "_check_permission", allow)
    monkeypatch.setattr(runner, "_perform", perform)
    monkeypatch.setattr(runner, "_record_end", record)
    task: Any = SimpleNamespace(
        id="t1", resume_count=resume_count, started_at=None, credential="c1", batch=None
    )
    running = asyncio.create_task(runner.run(task))
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.sleep(0)
    opener.may_open.set()
    await running
    was_resumed = bool(resume_count)
    assert opener.cancelled == [True] * was_resumed
    expected = "its step was ended" if was_resumed else "the task was cancelled; no step was sent"
    assert [str(each) for each in ends] == [expected]
