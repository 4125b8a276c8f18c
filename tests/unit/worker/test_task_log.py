"""The log of a running task: masked, bounded, and recorded now and then."""

import asyncio

import pytest

from resop.security.masking import Masker
from resop.types import MASK
from tests.unit.worker.fakes import FakeWriter
from worker import task_log
from worker.resumed_steps import ResumeState
from worker.task_log import LOG_CUT, TaskLog


@pytest.fixture
def writer() -> FakeWriter:
    return FakeWriter()


@pytest.fixture
async def log(writer: FakeWriter, monkeypatch: pytest.MonkeyPatch) -> TaskLog:
    monkeypatch.setattr(task_log, "FIRST_RECORD_DELAY", 0.01)
    loop = asyncio.get_running_loop()
    return TaskLog("1", writer, Masker(["hunter2"]), loop, ResumeState())  # type: ignore[arg-type]


async def test_lines_are_masked_and_written_together_with_the_progress(
    log: TaskLog, writer: FakeWriter
) -> None:
    log.add("it is hunter2")
    log.add("and more")
    log.set_progress(1, 4)
    await asyncio.sleep(0.05)
    assert writer.all_of("log") == [[f"it is {MASK}", "and more"]]
    assert writer.all_of("progress") == [{"done": 1, "total": 4}]


async def test_log_of_a_task_that_has_ended_is_left_to_its_end(
    log: TaskLog, writer: FakeWriter
) -> None:
    log.add("the last line")
    log.close()
    await asyncio.sleep(0.05)
    assert writer.written == []


async def test_log_is_cut_once_it_is_too_long(
    log: TaskLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_log, "MAX_LOG_BYTES", 10)
    for line in ("five!", "five!", "more", "and more"):
        log.add(line)
    assert log.lines == ["five!", "five!", LOG_CUT]
