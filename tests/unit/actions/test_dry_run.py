"""A dry run runs what only reads, and nothing else, whatever the operation does."""

from __future__ import annotations

import inspect
from typing import Any

from resop import OperationFailed, PathFailed, Secret, Shell, operation
from resop.actions.dry_run import NOTE_AFTER_CHANGES, DryRunExecutor, perform_dry_run
from resop.actions.execute import ActionOutcome
from resop.actions.executor import StepExecutor
from resop.actions.operation import Operation
from resop.actions.options import check_options
from resop.archives.entry import File
from resop.security.identity import Identity
from resop.security.masking import Masker
from resop.steps.result import Result
from resop.steps.step import StepRequest
from resop.steps.undo import UndoStep
from resop.testing import FakeShell

SETTINGS = {"ADMINISTRATORS": "ada", "NAME": "value"}


def dry(action: Operation[..., Any], shell: FakeShell, **options: Any) -> ActionOutcome:
    """Dry-run an operation on a fake shell."""
    return perform_dry_run(action, shell, check_options(action.options, options), Masker())


def test_reads_are_run_and_changes_are_shown_in_order_with_secrets_masked() -> None:
    @operation(dry_run=True)
    def renew(shell: Shell, password: Secret) -> list[str]:
        shell.log("it begins")
        found = shell.run("ls", "keys", reads=True).lines
        with shell.undone_by("restore", comment="put the key back"):
            shell.run("renew", input=[password, "\n"], summary="renew the key")
        shell.log("renewed")
        if not shell.dry_run:
            found = shell.run("ls", "keys", reads=True).lines
        return [*found, shell.script("count", reads=True).stdout]

    shell = FakeShell(settings=SETTINGS)
    shell.expect("ls keys", stdout="old\n").expect("count", stdout="2")
    outcome = dry(renew, shell, password="hunter2")
    shell.finished()
    assert outcome.error is None
    assert outcome.output == {
        "plan": [
            planned("ls keys", exit_code=0),
            planned("renew", changes=True, summary="renew the key", stdin="********\n"),
            planned("count", exit_code=0),
        ],
        "undo": ["put the key back"],
        "output": ["old", "2"],
    }
    assert shell.fake.log_lines == ["it begins", "would log: renewed"]


def planned(
    command: str | None,
    *,
    changes: bool = False,
    summary: str | None = None,
    stdin: str | None = None,
    exit_code: int | None = None,
) -> dict[str, Any]:
    """Return a step as a plan has it."""
    return {
        "changes": changes,
        "summary": summary,
        "command": command,
        "stdin": stdin,
        "exit_code": exit_code,
    }


def test_nothing_that_changes_something_passes() -> None:
    @operation(dry_run=True)
    def everything(shell: Shell) -> list[Any]:
        shell.on_failure("undo")
        answers: list[Any] = [
            shell.run("true").exit_code,
            shell.run("cat", raw=True).raw,
            shell.script("touch x").stdout,
            shell.copy("a", "b"),
            shell.end_logins("bob", block="gone"),
            shell.allow_logins("bob"),
            shell.get("kept"),
            shell.setting("NAME"),
        ]
        shell.put("text", "file", mode=0o600)
        shell.map(lambda number: shell.run("rm", number), [1, 2])
        shell.progress(1, 2)
        return answers

    shell = FakeShell(settings=SETTINGS)
    shell.fake.files["kept"] = File(b"content")
    before = dict(shell.fake.files)
    outcome = dry(everything, shell)
    shell.finished()
    assert outcome.error is None
    assert outcome.output["output"] == [0, "", "", [0, 0], 0, True, "content", "value"]
    changes = [step["command"] or step["summary"] for step in outcome.output["plan"]]
    assert sorted(changes) == [
        *("cat", "end the logins of bob to this service, and refuse further ones: gone"),
        *("let bob log in to this service, if blocked", "rm 1", "rm 2", "sftp: copy a b"),
        *("sftp: get kept", "sftp: put file", "touch x", "true"),
    ]
    assert shell.fake.files == before
    assert not shell.fake.ended_logins and not shell.fake.allowed_logins


def test_executor_passes_on_reading_steps_downloads_and_reports_only() -> None:
    """Call each method of a StepExecutor: a new one must be decided about here, too."""
    passed: list[str] = []

    class Recorder:
        def __getattr__(self, name: str) -> Any:
            def passing(*_: Any) -> Result:
                passed.append(name)
                return Result()

            return passing

    executor = DryRunExecutor(Recorder(), Masker())
    step = StepRequest("true", "true")
    arguments: dict[str, tuple[Any, ...]] = {
        "run": (step,),
        "record_undo": ([UndoStep(step, "undo it")],),
        "update_undo": ([UndoStep(step, "undo it")],),
        "take_over_undo": ("a task", Identity("ada", "hpc"), True),
        "log": ("",),
        "progress": (0, 1),
        "log_fault": ("",),
        "put": (b"", "", None, True),
        "get": ("", 0),
        "put_folder": (b"\0" * 1024, "", True),
        "get_folder": ("", 0),
        "copy": ("", "", True),
    }
    methods = {name for name, _ in inspect.getmembers(StepExecutor, inspect.isfunction)}
    assert {name for name in methods if not name.startswith("_")} == set(arguments)
    for name, values in arguments.items():
        getattr(executor, name)(*values)
    for undo in (True, False):
        executor.run(StepRequest("true", "true", undo=undo, reads=True))
    assert sorted(passed) == ["get", "get_folder", "log", "log_fault", "progress", "run"]


def test_refusal_is_that_of_a_real_run_and_undoes_nothing() -> None:
    @operation(dry_run=True)
    def refusing(shell: Shell, late: bool, path: bool = False) -> None:
        shell.on_failure("undo")
        if late:
            shell.run("make", summary="make it")
        if path:
            shell.run("ls", "x", path="x", reads=True)
        shell.fail("it is taken")

    for late in (False, True):
        outcome = dry(refusing, FakeShell(), late=late)
        assert isinstance(outcome.error, OperationFailed)
        assert outcome.error.message == "it is taken"
        assert outcome.error.details == ({"note": NOTE_AFTER_CHANGES} if late else {})
        assert (outcome.undone, outcome.needs_repair) == ([], [])
        assert [step["summary"] for step in outcome.output["plan"]] == ["make it"] * late
    shell = FakeShell().expect("ls x", stderr="ls: x: Permission denied", exit_code=2)
    outcome = dry(refusing, shell, late=False, path=True)
    assert isinstance(outcome.error, PathFailed) and outcome.error.details["reason"] == "denied"
    assert outcome.output["plan"] == [planned("ls x", exit_code=2)]


def test_operation_that_needs_the_output_of_a_change_is_told_why() -> None:
    @operation(dry_run=True)
    def careless(shell: Shell) -> int:
        return int(shell.run("submit").stdout)

    shell = FakeShell()
    error = dry(careless, shell).error_json()
    assert error is not None
    assert (error["type"], error["note"]) == ("OperationFault", NOTE_AFTER_CHANGES)
    assert "ValueError" in shell.fake.faults[0]


def test_administrators_only_is_refused_as_in_a_real_run() -> None:
    @operation(dry_run=True)
    def expel(shell: Shell) -> None:
        shell.end_logins("bob")

    outcome = dry(expel, FakeShell(settings={"ADMINISTRATORS": "bob"}))
    assert outcome.error is not None and outcome.error.public_type == "NotPermitted"
    assert outcome.output["plan"] == []
