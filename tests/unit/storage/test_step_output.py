"""Output of steps: rows while they are running, and whole outputs."""

import pytest

from resop.storage import step_output as module
from resop.storage.changes import Change
from resop.storage.database import Database
from resop.storage.models import Step, StepOutput, now
from resop.storage.step_output import StepOutputStore
from resop.storage.tasks import TaskStore

ROWS = [(1, 1, "one "), (2, 1, "two "), (1, 2, "err "), (1, 1, "three"), (2, 1, "four")]


def test_rows_are_found_by_number_and_joined_by_step(
    task_store: TaskStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_PAGE", 2)
    for task in ("t1", "t2"):
        rows = [
            StepOutput(task=task, number=number, step=step, stream=stream, text=f"{text}{task}")
            for number, (step, stream, text) in enumerate(ROWS, 1)
        ]
        task_store.apply([Change.printed(task, rows[:2]), Change.printed(task, rows[2:])], "w")
    outputs = StepOutputStore(database)
    assert outputs.ends("t1") == {1: 4, 2: 5}
    assert outputs.ends("t1", after=4) == {2: 5}
    assert outputs.ends("t3") == {}
    assert [row.number for row in outputs.rows("t1", after=1, until=5)] == [2, 3]
    assert [row.number for row in outputs.rows("t1", after=3, until=4)] == [4]
    assert outputs.so_far("t1", {0, 1}) == {1: ("one t1threet1", "err t1")}


def test_short_outputs_are_read_in_pages_and_long_ones_alone(
    task_store: TaskStore, database: Database
) -> None:
    texts = {number: "x" * (40_000 if number % 40 == 0 else number) for number in range(1, 121)}
    for number, text in texts.items():
        begun = Step(task="t1", number=number, command="x", started_at=now())
        ended = Change.step_ended("t1", number, stdout=text, stderr=f"e{number}")
        task_store.apply([Change.step_begun(begun), ended], "w")
    task_store.apply([Change.step_ended("t1", 7, stdout=None, stderr=None)], "w")
    wanted = [3, 7, 2, *range(10, 121), 500]
    outputs = list(StepOutputStore(database).outputs("t1", wanted))
    assert outputs[1] == outputs[-1] == (None, None)
    del outputs[1], outputs[-1], wanted[1], wanted[-1]
    assert outputs == [(texts[number], f"e{number}") for number in wanted]
