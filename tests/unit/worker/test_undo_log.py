"""The undo log records what would undo a step, until that is undone."""

import asyncio
import time

import pytest

from resop.security.masking import Masker
from resop.steps.step import StepRequest, step_request
from resop.types import Secret
from tests.unit.worker.fakes import FakeSession, FakeWriter
from worker.engine import new_executor
from worker.step_executor import SshStepExecutor


@pytest.fixture
def writer() -> FakeWriter:
    return FakeWriter()


@pytest.fixture
async def executor(writer: FakeWriter) -> SshStepExecutor:
    over = time.monotonic() - 1
    return new_executor("1", FakeSession(), writer, Masker(), over)  # type: ignore[arg-type]


def undo(*argv: str, stdin: Secret | None = None) -> StepRequest:
    return step_request(argv, stdin, 5, undo=True)


async def test_undo_step_is_recorded_when_the_time_is_over_too(
    executor: SshStepExecutor, writer: FakeWriter
) -> None:
    executor.register_undo(undo("userdel", "ada"))
    assert writer.all_of("pending_undo") == [["userdel ada"]]


async def test_step_that_was_undone_is_no_longer_pending(
    executor: SshStepExecutor, writer: FakeWriter
) -> None:
    steps = [undo("userdel", "ada"), undo("false"), undo("groupdel", "team")]
    for step in steps:
        executor.register_undo(step)
    for step in reversed(steps):
        await asyncio.to_thread(executor.run, step)
    assert writer.all_of("pending_undo")[2:] == [
        ["userdel ada", "false", "groupdel team"],
        ["userdel ada", "false"],
        ["false"],
    ]


async def test_secret_of_an_undo_step_is_masked_in_every_record(
    executor: SshStepExecutor, writer: FakeWriter
) -> None:
    executor.register_undo(undo("passwd", stdin=Secret("old-secret")))
    executor.register_undo(undo("echo", "old-secret"))
    assert "old-secret" not in str(writer.written)
