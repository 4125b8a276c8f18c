"""A task that another worker takes up: its steps answer as before, and none is sent twice."""

import asyncio
import time
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from resop.errors import ContactLost
from resop.security.masking import Masker
from resop.ssh.runner.durable_step import (
    DurabilityUnavailable,
    DurableStep,
    NeverStarted,
    StepIdGenerator,
)
from resop.steps.output import RawResult
from resop.steps.result import Result
from resop.steps.step import StepRequest, step_request
from resop.storage.changes import Change
from resop.storage.models import Step, now
from resop.types import MASK, Secret
from worker import resumed_steps as module
from worker.resumed_steps import PreviousRun, ResumeState, TaskHandedOff
from worker.step_executor import SshStepExecutor


class FakeRecorder:
    """Keeps what was written."""

    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []

    def write_soon(self, change: Change) -> Future[None]:
        assert isinstance(change.values, dict)
        bound = change.values.items()
        self.written.append(
            {name.removeprefix("new_").removeprefix("of_"): value for name, value in bound}
        )
        written: Future[None] = Future()
        written.set_result(None)
        return written

    write_now = write_soon


class FakeSession:
    """Answers each step with its number; keeps none when it is told so."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.kept: list[DurableStep] = []
        self.forgotten: list[str] = []
        self.keeps = True
        self.asked = asyncio.Event()

    async def run(self, step: StepRequest, *_: Any) -> RawResult:
        self.sent.append(step.line)
        return RawResult(f"{len(self.sent)}\n".encode(), b"", 0, 0.0, False)

    async def run_durable(
        self, step: StepRequest, limit: float, keep: DurableStep, *_: Any
    ) -> RawResult:
        self.kept.append(keep)
        self.asked.set()
        if not self.keeps:
            raise DurabilityUnavailable()
        if keep.is_attach_only:
            raise NeverStarted()
        await asyncio.sleep(0.05 if step.line == "exec slow" else 0)
        keep.request(step.input)
        keep.mark_sent()
        return await self.run(step)

    def forget(self, keep: DurableStep) -> None:
        self.forgotten.append(keep.step_id)


SECRET = Secret("the secret")


def step(*argv: str, given: Any = None, **how: Any) -> StepRequest:
    return step_request(argv, given, None, **how)


def recorded(number: int, request: StepRequest, **values: Any) -> Step:
    """A step as a worker has recorded it."""
    return Step(
        task="1",
        number=number,
        command=request.display,
        started_at=now(),
        step_id=StepIdGenerator("1", "half").of(request),
        **values,
    )


class Site:
    """A door with all that is behind it."""

    def __init__(self, *steps: Step, taken_over: bool = True) -> None:
        self.session, self.recorder = FakeSession(), FakeRecorder()
        over, loop = time.monotonic() + 60, asyncio.get_running_loop()
        self.door = SshStepExecutor("1", self.session, self.recorder, Masker(), loop, over)  # type: ignore[arg-type]
        names = StepIdGenerator("1", "half")
        self.door.keeping = ResumeState(names, taken_over=taken_over, recorded=steps)
        self.door.go_on_from(PreviousRun(steps))

    async def run(self, request: StepRequest) -> Result:
        return await asyncio.to_thread(self.door.run, request)


ENDED = {"seconds": 1.0, "exit_code": 3, "stdout": "out\n", "stderr": "err\n"}


async def test_recorded_step_answers_what_it_did_and_the_next_is_sent() -> None:
    first, second = step("first"), step("second")
    site = Site(recorded(1, first, **ENDED))
    answer = await site.run(first)
    assert (answer.stdout, answer.stderr, answer.exit_code) == ("out\n", "err\n", 3)
    assert site.session.sent == [] and site.recorder.written == []
    assert (await site.run(second)).stdout == "1\n"
    begun, ended = site.recorder.written
    assert (begun["number"], ended["stdout"]) == (2, "1\n")
    await asyncio.sleep(0)
    assert site.session.forgotten == [recorded(1, each).step_id for each in (first, second)]


async def test_step_under_way_is_found_and_recorded_where_it_was() -> None:
    site = Site(recorded(4, step("first")))
    assert (await site.run(step("first"))).stdout == "1\n"
    [keep] = site.session.kept
    assert keep.needs_tombstone and not keep.is_attach_only
    [ended] = site.recorder.written
    assert (ended["number"], ended["stdout"]) == (4, "1\n")


async def test_steps_at_the_same_time_are_known_in_any_order() -> None:
    steps = [step("echo", str(number % 2)) for number in range(4)]
    names, rows = StepIdGenerator("1", "half"), []
    for number, each in enumerate(steps, 1):
        row = recorded(number, each, **{**ENDED, "stdout": f"{number % 2}"})
        row.step_id = names.of(each)
        rows.append(row)
    site = Site(*rows)
    answers = await asyncio.gather(*(site.run(each) for each in [*reversed(steps), step("more")]))
    assert [answer.stdout for answer in answers] == ["0", "1", "0", "1", "1\n"]


@pytest.mark.parametrize(
    ("request_", "values"),
    [
        pytest.param(step("a"), {**ENDED, "stdout": f"a {MASK}"}, id="masked"),
        pytest.param(step("a"), {**ENDED, "stderr": "x" * (1 << 20)}, id="as long as is kept"),
        pytest.param(step("a", raw=True), {**ENDED, "stdout": ""}, id="bytes"),
        pytest.param(step("a"), {"error": "the step reached its time limit"}, id="failed"),
    ],
)
async def test_step_whose_answer_is_not_in_the_record_is_not_made_up(
    request_: StepRequest, values: dict[str, Any]
) -> None:
    site = Site(recorded(1, request_, **values))
    with pytest.raises(ContactLost, match="not in the record"):
        await site.run(request_)
    assert site.session.sent == []


async def test_transfers_are_known_again_and_not_repeated() -> None:
    def transfer(shown: str, content: bytes = b"") -> str:
        return "bare-" + StepIdGenerator("1", "half").of(StepRequest(shown, shown), content)

    put, get = recorded(1, step("put"), seconds=1.0), recorded(2, step("get"), seconds=1.0)
    put.step_id, get.step_id = transfer("sftp: put a", b"text"), transfer("sftp: get b")
    site = Site(put, get)
    await asyncio.to_thread(site.door.put, b"text", "a", None, True)
    with pytest.raises(ContactLost, match="not in the record"):
        await asyncio.to_thread(site.door.get, "b", 100)
    put.seconds = None
    with pytest.raises(ContactLost, match="not in the record"):
        await asyncio.to_thread(Site(put).door.put, b"text", "a", None, True)


async def test_secret_output_is_kept_on_no_disk_and_cannot_be_had_again() -> None:
    secretly = replace(step("salt"), secret_output=True)
    site = Site(taken_over=False)
    assert (await site.run(secretly)).stdout == "1\n"
    begun, ended = site.recorder.written
    assert begun["step_id"].startswith("bare-") and ended["stdout"] == MASK
    assert site.session.kept == []
    row = recorded(1, secretly, **{**ENDED, "stdout": MASK})
    row.step_id = begun["step_id"]
    with pytest.raises(ContactLost, match="not in the record"):
        await Site(row).run(secretly)


async def test_operation_that_takes_another_way_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASTRAY_SECONDS", 0.05)
    site = Site(recorded(1, step("first"), **ENDED))
    with pytest.raises(ContactLost, match="did not ask for the same steps again: first"):
        await site.run(step("another"))
    assert site.session.sent == []


async def test_what_cannot_be_kept_is_written_down_as_such_before_it_is_sent() -> None:
    site = Site(taken_over=False)
    site.session.keeps = False
    assert (await site.run(step("first"))).stdout == "1\n"
    begun, unkept, ended = site.recorder.written
    assert begun["step_id"] and unkept["resume_count"] is None and ended["stdout"] == "1\n"
    assert (await site.run(step("second"))).stdout == "2\n"
    assert site.recorder.written[3]["step_id"] is None


async def test_worker_that_stops_leaves_what_survives_and_sends_no_more() -> None:
    site = Site(taken_over=False)
    running = asyncio.create_task(site.run(step("slow")))
    await site.session.asked.wait()
    site.door.leave()
    with pytest.raises(TaskHandedOff):
        await running
    assert site.session.kept[0].handed_off and site.session.sent == []
    with pytest.raises(TaskHandedOff):
        await site.run(step("next"))


async def test_log_and_undoing_that_are_recorded_are_not_told_again() -> None:
    site = Site(recorded(1, step("first"), **ENDED))
    site.door.shown_before = 2
    site.door.log("one")
    site.door.register_undo(step("undo", undo=True))
    site.door._note_shown()
    await site.door.show()
    assert site.recorder.written == []
    await site.run(step("first"))
    site.door.log("two")
    site.door.register_undo(step("undo more", undo=True))
    site.door._note_shown()
    left = next(each["pending_undo"] for each in site.recorder.written if "pending_undo" in each)
    assert left == ["undo", "'undo more'"]
    assert site.recorder.written[-1]["log"] == ["one", "two"]


def test_names_are_the_same_for_the_same_and_tell_nothing() -> None:
    def names(task: str = "1", half: str = "half", given: Any = SECRET) -> list[str]:
        made = StepIdGenerator(task, half)
        return [made.of(step("passwd", given=given)) for _ in range(2)]

    assert names() == names() and len({*names()}) == 2
    others = [names(task="2"), names(half="other"), names(given=Secret("another secret"))]
    assert not {*names()} & {name for other in others for name in other}
