"""The worker's door keeps what would undo a step, and forgets it when it is undone."""

import asyncio
import time
from concurrent.futures import Future
from typing import Any

import pytest

from resop.security.masking import Masker
from resop.steps.output import Raw
from resop.steps.step import StepRequest, step_request
from resop.storage.tasks import Change
from resop.types import Secret
from worker.step_executor import WorkerDoor


class FakeRecorder:
    """Writes nothing, and remembers what was to be undone."""

    def __init__(self) -> None:
        self.left: list[list[str]] = []

    def note(self, change: Change) -> Future[None]:
        assert isinstance(change.values, dict)
        if "new_to_undo" in change.values:
            self.left.append(change.values["new_to_undo"])
        written: Future[None] = Future()
        written.set_result(None)
        return written

    write = note


class FakeSession:
    """Every step succeeds, but `false`."""

    async def run(self, step: StepRequest, *_: Any) -> Raw:
        return Raw(b"", b"", int("false" in step.line), 0.0, False)


@pytest.fixture
def recorder() -> FakeRecorder:
    return FakeRecorder()


@pytest.fixture
async def door(recorder: FakeRecorder) -> WorkerDoor:
    over = time.monotonic() - 1
    loop = asyncio.get_running_loop()
    return WorkerDoor("1", FakeSession(), recorder, Masker(), loop, over)  # type: ignore[arg-type]


def undo(*argv: str, given: Secret | None = None) -> StepRequest:
    return step_request(argv, given, 5, undo=True)


async def test_undo_is_recorded_when_the_time_is_over_too(
    door: WorkerDoor, recorder: FakeRecorder
) -> None:
    door.registered(undo("userdel", "ada"))
    assert recorder.left == [["userdel ada"]]


async def test_what_was_undone_is_no_longer_left_to_undo(
    door: WorkerDoor, recorder: FakeRecorder
) -> None:
    steps = [undo("userdel", "ada"), undo("false"), undo("groupdel", "team")]
    for step in steps:
        door.registered(step)
    for step in reversed(steps):
        await asyncio.to_thread(door.run, step)
    assert recorder.left[2:] == [
        ["userdel ada", "false", "groupdel team"],
        ["userdel ada", "false"],
        ["false"],
    ]


async def test_secret_of_an_undo_is_masked_wherever_it_is_shown(
    door: WorkerDoor, recorder: FakeRecorder
) -> None:
    door.registered(undo("passwd", given=Secret("old-secret")))
    door.registered(undo("echo", "old-secret"))
    assert "old-secret" not in str(recorder.left)
