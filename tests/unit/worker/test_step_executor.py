"""The worker's door keeps what would undo a step, and forgets it when it is undone."""

import asyncio
import time
from concurrent.futures import Future
from typing import Any

import pytest

from resop.security.masking import Masker
from resop.steps.output import RawResult
from resop.steps.step import StepRequest, step_request
from resop.storage.changes import Change
from resop.types import Secret
from worker.step_executor import SshStepExecutor


class FakeRecorder:
    """Writes nothing, and remembers what was to be undone."""

    def __init__(self) -> None:
        self.left: list[list[str]] = []

    def write_soon(self, change: Change) -> Future[None]:
        assert isinstance(change.values, dict)
        if "new_pending_undo" in change.values:
            self.left.append(change.values["new_pending_undo"])
        written: Future[None] = Future()
        written.set_result(None)
        return written

    write_now = write_soon


class FakeSession:
    """Every step succeeds, but `false`."""

    async def run(self, step: StepRequest, *_: Any) -> RawResult:
        return RawResult(b"", b"", int("false" in step.line), 0.0, False)


@pytest.fixture
def recorder() -> FakeRecorder:
    return FakeRecorder()


@pytest.fixture
async def door(recorder: FakeRecorder) -> SshStepExecutor:
    over = time.monotonic() - 1
    loop = asyncio.get_running_loop()
    return SshStepExecutor("1", FakeSession(), recorder, Masker(), loop, over)  # type: ignore[arg-type]


def undo(*argv: str, given: Secret | None = None) -> StepRequest:
    return step_request(argv, given, 5, undo=True)


async def test_undo_is_recorded_when_the_time_is_over_too(
    door: SshStepExecutor, recorder: FakeRecorder
) -> None:
    door.register_undo(undo("userdel", "ada"))
    assert recorder.left == [["userdel ada"]]


async def test_what_was_undone_is_no_longer_left_to_undo(
    door: SshStepExecutor, recorder: FakeRecorder
) -> None:
    steps = [undo("userdel", "ada"), undo("false"), undo("groupdel", "team")]
    for step in steps:
        door.register_undo(step)
    for step in reversed(steps):
        await asyncio.to_thread(door.run, step)
    assert recorder.left[2:] == [
        ["userdel ada", "false", "groupdel team"],
        ["userdel ada", "false"],
        ["false"],
    ]


async def test_secret_of_an_undo_is_masked_wherever_it_is_shown(
    door: SshStepExecutor, recorder: FakeRecorder
) -> None:
    door.register_undo(undo("passwd", given=Secret("old-secret")))
    door.register_undo(undo("echo", "old-secret"))
    assert "old-secret" not in str(recorder.left)
