"""The undo steps that a task has left move to the task that repairs it: all of them, and once."""

from collections.abc import Iterable
from typing import Any

import pytest

from resop.errors import TaskRunning, UnknownTask
from resop.security.encryption import Encryptor
from resop.security.identity import Identity
from resop.steps.step import step_request
from resop.steps.undo import LOGIN_NODE, UndoState, UndoStep, read_records, report
from resop.storage.database import Database
from resop.storage.models import State, Task
from resop.storage.tasks import TaskStore
from resop.types import Secret
from tests.support.tasks import new_task
from worker.repairs import RepairStore

ADA, ADMIN, OTHER = (Identity(name, "tango") for name in ("ada", "admin", "eve"))
KEY = Encryptor(b"k" * 32)


@pytest.fixture
def repairs(database: Database) -> RepairStore:
    return RepairStore(database, KEY)


def undo(name: str, where: str = LOGIN_NODE, state: UndoState = UndoState.NOT_RUN) -> UndoStep:
    secret = Secret(f"secret of {name}")
    request = step_request(["rm", name], [secret, "\n"], 60, undo=True, comment=f"remove {name}")
    return UndoStep(request, f"remove {name}", where, absent=(6, "gone"), state=state)


def failed(tasks: TaskStore, repairs: RepairStore, *steps: UndoStep, **values: Any) -> str:
    """Store a lost task that has left these undo steps, and return its id."""
    task = new_task(username="ada", **{"state": State.LOST, **values})
    records = [step.record() | repairs.seal(step, task.id) for step in steps]
    task.pending_undo = records or None
    task.error = {"type": "ContactLost", "message": "gone", **report(records).as_json()}
    tasks.add(task)
    return task.id


def repairing(tasks: TaskStore, username: str = "ada") -> str:
    task = new_task(username=username, state=State.RUNNING)
    tasks.add(task)
    return task.id


def found(tasks: TaskStore, task_id: str) -> Task:
    task = tasks.get(task_id)
    assert task is not None and task.error is not None
    return task


def names(steps: Iterable[Any]) -> list[str]:
    return [step.what for step, _ in steps]


def test_repair_takes_over_all_steps_as_they_were(
    task_store: TaskStore, repairs: RepairStore
) -> None:
    steps = [undo("a"), undo("b", "Slurm", UndoState.UNCERTAIN), undo("c", state=UndoState.SENT)]
    lost = failed(task_store, repairs, *steps, undo("d", state=UndoState.DONE))
    before = found(task_store, lost)
    assert before.error and len(before.error["needs_repair"]) == len(before.error["repair"]) == 3
    by = repairing(task_store)
    moved, left = repairs.take_over(lost, by, ADA, False)
    assert left == [] and names(moved) == ["remove a", "remove b", "remove c"]
    for was, (now, _) in zip(steps, moved, strict=True):
        assert (now.step, now.where, now.absent) == (was.step, was.where, was.absent)
    # One that was sent may have been done, so its change may be undone already.
    assert [step.state for step, _ in moved] == ["not_run", "uncertain", "uncertain"]
    after = found(task_store, lost)
    emptied = {"needs_repair": [], "repaired_by": by}
    del before.error["repair"]
    assert (after.error, after.pending_undo) == (before.error | emptied, None)
    records = read_records((task_store.get(by) or after).pending_undo)
    assert [each["what"] for each in records] == names(moved)


def test_repeated_repair_finds_what_the_last_one_has_left(
    task_store: TaskStore, repairs: RepairStore
) -> None:
    lost, first = failed(task_store, repairs, undo("a")), repairing(task_store)
    moved, _ = repairs.take_over(lost, first, ADA, False)
    second = repairing(task_store)
    with pytest.raises(TaskRunning, match=first):
        repairs.take_over(lost, second, ADA, False)
    task_store.end(first, State.LOST, error={"type": "ContactLost", "message": "again"})
    again, _ = repairs.take_over(lost, second, ADA, False)
    assert names(again) == names(moved) == ["remove a"]
    task_store.end(second, State.SUCCEEDED, pending_undo=None)
    assert repairs.take_over(lost, repairing(task_store), ADA, False) == ([], [])


def test_who_may_repair_what(task_store: TaskStore, repairs: RepairStore) -> None:
    lost = failed(task_store, repairs, undo("own"), undo("shared", "Slurm"))
    for identity, is_administrator in [(OTHER, False), (Identity("ada", "other"), True)]:
        with pytest.raises(UnknownTask):
            repairs.take_over(lost, repairing(task_store), identity, is_administrator)
    with pytest.raises(UnknownTask):
        repairs.take_over("nosuch", repairing(task_store), ADMIN, True)
    moved, left = repairs.take_over(lost, repairing(task_store, "admin"), ADMIN, True)
    assert names(moved) == ["remove shared"]
    assert left == ["rm own  # remove own: not run, the worker died"]
    after = found(task_store, lost)
    assert after.error and after.error["needs_repair"] == left
    own, left = repairs.take_over(lost, repairing(task_store), ADA, False)
    assert (names(own), left) == (["remove own"], [])


def test_running_task_is_not_repaired(task_store: TaskStore, repairs: RepairStore) -> None:
    running = failed(task_store, repairs, undo("a"), state=State.RUNNING)
    with pytest.raises(TaskRunning):
        repairs.take_over(running, repairing(task_store), ADA, False)


def test_step_that_cannot_be_decrypted_stays(task_store: TaskStore, database: Database) -> None:
    lost = failed(task_store, RepairStore(database, Encryptor(b"x" * 32)), undo("a"))
    moved, left = RepairStore(database, KEY).take_over(lost, repairing(task_store), ADA, False)
    assert moved == [] and left == ["rm a  # remove a: not run, the worker died"]


def test_command_lines_of_an_earlier_release_are_reported() -> None:
    records = read_records(["rm a", "rm b"])
    assert report(records).needs_repair == [
        "rm b: not run, the worker died",
        "rm a: not run, the worker died",
    ]
