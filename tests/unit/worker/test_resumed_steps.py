"""A task that another worker resumes: its steps answer as before, and none is sent twice."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from resop.errors import ContactLost
from resop.security.masking import Masker
from resop.ssh.runner.durable_step import StepIdGenerator
from resop.steps.result import Result
from resop.steps.step import StepRequest, step_request
from resop.steps.undo import UndoStep
from resop.storage.models import Step, now
from resop.types import MASK, Secret
from tests.unit.worker.fakes import FakeSession, FakeWriter
from worker import resumed_steps
from worker.engine import new_executor
from worker.resumed_steps import PreviousRun, ResumeState
from worker.task_control import TaskHandedOff

SECRET = Secret("the secret")


def step(*argv: str, stdin: Any = None, **how: Any) -> StepRequest:
    return step_request(argv, stdin, None, **how)


def recorded(number: int, request: StepRequest, **values: Any) -> Step:
    """Return a step as the previous worker recorded it."""
    return Step(
        task="1",
        number=number,
        command=request.display,
        started_at=now(),
        step_id=StepIdGenerator("1", "half").next_id(request),
        **values,
    )


class Site:
    """An executor with fakes of everything behind it."""

    def __init__(self, *steps: Step, resumed: bool = True, log_lines: int = 0) -> None:
        self.session, self.writer = FakeSession(), FakeWriter()
        self.executor = new_executor(
            "1",
            self.session,  # type: ignore[arg-type]
            self.writer,  # type: ignore[arg-type]
            Masker(),
            time.monotonic() + 60,
            ResumeState(StepIdGenerator("1", "half"), resumed=resumed, recorded=steps),
            PreviousRun(steps),
            log_lines,
        )

    async def run(self, request: StepRequest) -> Result:
        return await asyncio.to_thread(self.executor.run, request)


ENDED = {"seconds": 1.0, "exit_code": 3, "stdout": "out\n", "stderr": "err\n"}


async def test_recorded_step_answers_what_it_did_and_the_next_is_sent() -> None:
    first, second = step("first"), step("second")
    site = Site(recorded(1, first, **ENDED))
    answer = await site.run(first)
    assert (answer.stdout, answer.stderr, answer.exit_code) == ("out\n", "err\n", 3)
    assert site.session.sent == [] and site.writer.written == []
    assert (await site.run(second)).stdout == "1\n"
    begun, ended = site.writer.written
    assert (begun["number"], ended["stdout"]) == (2, "1\n")
    await asyncio.sleep(0)
    assert site.session.forgotten == [recorded(1, each).step_id for each in (first, second)]


async def test_step_under_way_is_found_and_recorded_where_it_was() -> None:
    site = Site(recorded(4, step("first")))
    assert (await site.run(step("first"))).stdout == "1\n"
    [durable] = site.session.durable_steps
    assert durable.needs_tombstone and not durable.is_attach_only
    [ended] = site.writer.written
    assert (ended["number"], ended["stdout"]) == (4, "1\n")


async def test_steps_at_the_same_time_are_recognized_in_any_order() -> None:
    steps = [step("echo", str(number % 2)) for number in range(4)]
    ids, rows = StepIdGenerator("1", "half"), []
    for number, each in enumerate(steps, 1):
        row = recorded(number, each, **{**ENDED, "stdout": f"{number % 2}"})
        row.step_id = ids.next_id(each)
        rows.append(row)
    site = Site(*rows)
    answers = await asyncio.gather(*(site.run(each) for each in [*reversed(steps), step("more")]))
    assert [answer.stdout for answer in answers] == ["0", "1", "0", "1", "1\n"]


@pytest.mark.parametrize(
    ("request_", "values"),
    [
        pytest.param(step("a"), {**ENDED, "stdout": f"a {MASK}"}, id="masked"),
        pytest.param(step("a"), {**ENDED, "stderr": "x" * (1 << 20)}, id="at the limit"),
        pytest.param(step("a", raw=True), {**ENDED, "stdout": ""}, id="bytes"),
        pytest.param(step("a"), {"error": "the step reached its time limit"}, id="failed"),
    ],
)
async def test_step_whose_answer_is_not_recorded_ends_the_task(
    request_: StepRequest, values: dict[str, Any]
) -> None:
    site = Site(recorded(1, request_, **values))
    with pytest.raises(ContactLost, match="not recorded"):
        await site.run(request_)
    assert site.session.sent == []


async def test_transfers_are_recognized_and_not_repeated() -> None:
    def transfer_id(command: str, content: bytes = b"") -> str:
        return "bare-" + StepIdGenerator("1", "half").next_id(
            StepRequest(command, command), content
        )

    put, get = recorded(1, step("put"), seconds=1.0), recorded(2, step("get"), seconds=1.0)
    put.step_id, get.step_id = transfer_id("sftp: put a", b"text"), transfer_id("sftp: get b")
    site = Site(put, get)
    await asyncio.to_thread(site.executor.put, b"text", "a", None, True)
    with pytest.raises(ContactLost, match="not recorded"):
        await asyncio.to_thread(site.executor.get, "b", 100)
    put.seconds = None
    with pytest.raises(ContactLost, match="not recorded"):
        await asyncio.to_thread(Site(put).executor.put, b"text", "a", None, True)


async def test_secret_output_is_on_no_disk_and_cannot_be_answered_again() -> None:
    secret_step = replace(step("salt"), secret_output=True)
    site = Site(resumed=False)
    assert (await site.run(secret_step)).stdout == "1\n"
    begun, ended = site.writer.written
    assert begun["step_id"].startswith("bare-") and ended["stdout"] == MASK
    assert site.session.durable_steps == []
    row = recorded(1, secret_step, **{**ENDED, "stdout": MASK})
    row.step_id = begun["step_id"]
    with pytest.raises(ContactLost, match="not recorded"):
        await Site(row).run(secret_step)


async def test_operation_that_diverges_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumed_steps, "REPLAY_SECONDS", 0.05)
    site = Site(recorded(1, step("first"), **ENDED))
    with pytest.raises(ContactLost, match="did not ask for the same steps again: first"):
        await site.run(step("another"))
    assert site.session.sent == []


async def test_step_that_cannot_be_durable_is_recorded_so_before_it_is_sent() -> None:
    site = Site(resumed=False)
    site.session.supports_durable = False
    assert (await site.run(step("first"))).stdout == "1\n"
    begun, not_durable, ended = site.writer.written
    assert begun["step_id"] and not_durable["resume_count"] is None and ended["stdout"] == "1\n"
    assert (await site.run(step("second"))).stdout == "2\n"
    assert site.writer.written[3]["step_id"] is None


async def test_hand_off_leaves_durable_steps_running_and_sends_no_more() -> None:
    site = Site(resumed=False)
    running = asyncio.create_task(site.run(step("slow")))
    await site.session.requested.wait()
    site.executor.control.hand_off()
    with pytest.raises(TaskHandedOff):
        await running
    assert site.session.durable_steps[0].handed_off and site.session.sent == []
    with pytest.raises(TaskHandedOff):
        await site.run(step("next"))


async def test_recorded_log_and_undo_steps_are_not_written_again() -> None:
    site = Site(recorded(1, step("first"), **ENDED), log_lines=2)
    site.executor.log("one")
    undo = [UndoStep(step("undo", undo=True), "undo")]
    site.executor.record_undo(undo)
    site.executor.task_log._record_soon()
    await site.executor.task_log.record()
    assert site.writer.written == []
    await site.run(step("first"))
    site.executor.log("two")
    site.executor.record_undo([*undo, UndoStep(step("undo more", undo=True), "more")])
    site.executor.task_log._record_soon()
    [written] = site.writer.all_of("pending_undo")
    assert [each["command"] for each in written] == ["undo", "'undo more'"]
    assert site.writer.written[-1]["log"] == ["one", "two"]


def test_step_ids_are_repeatable_and_reveal_nothing() -> None:
    def names(task: str = "1", key_share: str = "half", stdin: Any = SECRET) -> list[str]:
        ids = StepIdGenerator(task, key_share)
        return [ids.next_id(step("passwd", stdin=stdin)) for _ in range(2)]

    assert names() == names() and len({*names()}) == 2
    others = [names(task="2"), names(key_share="other"), names(stdin=Secret("another secret"))]
    assert not {*names()} & {name for other in others for name in other}
