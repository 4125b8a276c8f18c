"""The outcome of an action, whatever its code does."""

from __future__ import annotations

import importlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from resop import Secret, Shell, operation
from resop.actions.command import Command, CommandEntry
from resop.actions.execute import (
    ActionOutcome,
    command_step,
    perform_command,
    perform_operation,
    program_folder,
)
from resop.actions.operation import Operation
from resop.actions.options import check_options
from resop.errors import (
    CommandFailed,
    ContactLost,
    DaemonUnavailable,
    InvalidOptions,
    OperationFailed,
    OperationFault,
    ResopError,
)
from resop.testing import FakeShell


def perform(
    function: Operation[..., Any], shell: FakeShell | None = None, **options: object
) -> ActionOutcome:
    return perform_operation(
        function, shell or FakeShell(), check_options(function.options, options)
    )


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        ({"a": (1, {2})}, {"a": [1, [2]]}),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (Path("/a"), "/a"),
        (float("nan"), None),
        ([float("inf"), 1.5], [None, 1.5]),
        ({1: "a"}, {"1": "a"}),
        (b"bytes", "bytes"),
        ("half \ud83d a sign", "half \ufffd a sign"),
        ({"a": ["\ud83d"]}, {"a": ["\ufffd"]}),
        ("whole 😀", "whole 😀"),
    ],
)
def test_answer_becomes_json_that_every_client_can_read(answer: object, output: object) -> None:
    @operation
    def answered(shell: Shell) -> Any:
        return answer

    outcome = perform(answered)
    assert (outcome.output, outcome.error) == (output, None)


@pytest.mark.parametrize("answer", [object(), [10**5000], b"\xff", {"a": {"b": object()}}])
def test_answer_that_is_not_json_is_a_fault_of_the_code(answer: object) -> None:
    @operation
    def answered(shell: Shell) -> Any:
        return answer

    outcome = perform(answered)
    assert isinstance(outcome.error, OperationFault)
    assert outcome.output is None


def test_secret_in_an_answer_is_masked() -> None:
    @operation
    def echo(shell: Shell, password: Secret) -> Any:
        return {"password": password}

    assert "hunter2" not in str(perform(echo, password="hunter2").output)


@pytest.mark.parametrize(
    "fault",
    [
        lambda secret: int(secret),
        lambda secret: {}[secret],
        lambda secret: sys.exit(secret),
        lambda secret: exec(secret),
        lambda secret: secret.no_such_attribute,
    ],
    ids=["ValueError", "KeyError", "SystemExit", "NameError", "AttributeError"],
)
def test_fault_in_the_code_names_kind_and_line_but_no_value(
    fault: Any, request: pytest.FixtureRequest
) -> None:
    @operation
    def faulty(shell: Shell, word: str) -> None:
        shell.on_failure("rm", "made")
        fault(word)

    shell = FakeShell().expect("rm made")
    outcome = perform(faulty, shell, word="hunter2")
    assert isinstance(outcome.error, OperationFault)
    assert "hunter2" not in str(outcome.error_json())
    kind = request.node.callspec.id
    assert f": {kind} in its code, line " in outcome.error.message
    assert outcome.undone == ["rm made"]
    assert kind in shell.fake.faults[0], "the author finds the whole traceback in the log"
    shell.finished()


def test_library_that_is_missing_at_run_time_is_named() -> None:
    @operation
    def lazy(shell: Shell) -> None:
        importlib.import_module("no_such_library.part")

    error = perform(lazy).error
    assert error is not None
    begin = ":lazy: ModuleNotFoundError ('no_such_library' is not installed) in its code, line "
    assert error.message.startswith(begin)


def test_line_of_a_fault_is_in_the_operations_own_file() -> None:
    @operation
    def faulty(shell: Shell) -> None:
        datetime.strptime("x", "%Y")

    outcome = perform(faulty)
    assert outcome.error is not None
    line = faulty.line + 2
    assert f"ValueError in its code, line {line};" in outcome.error.message


@pytest.mark.parametrize("error", [OperationFailed("no"), ContactLost(), CommandFailed("bad")])
def test_failed_operation_is_undone_and_reports_it(error: ResopError) -> None:
    @operation
    def saga(shell: Shell) -> None:
        shell.run("make", "a")
        shell.on_failure("drop", "a")
        shell.on_failure("drop", "b")
        shell.run("make", "b")

    shell = (
        FakeShell()
        .expect("make a")
        .expect("make b", raises=error)
        .expect("drop b", stderr="there is no b\n", exit_code=1)
        .expect("drop a")
    )
    outcome = perform(saga, shell)
    assert outcome.error is error
    assert outcome.error_json() == {
        **error.as_json(),
        "undone": ["drop a"],
        "needs_repair": ["drop b: drop: there is no b (exit code 1)"],
        "repair": [
            {
                "what": "drop b",
                "where": "login node",
                "command": "drop b",
                "state": "failed",
                "reason": "drop: there is no b (exit code 1)",
            }
        ],
    }
    shell.finished()


def test_error_can_be_answered_whatever_text_it_repeats() -> None:
    @operation
    def repeating(shell: Shell) -> None:
        shell.fail("half \ud83d")

    shown = perform(repeating).error_json()
    assert shown is not None
    assert shown["message"] == "half \ufffd"


def test_successful_operation_undoes_nothing() -> None:
    @operation
    def made(shell: Shell) -> str:
        shell.on_failure("rm", "x")
        return "made"

    outcome = perform(made)
    assert (outcome.output, outcome.undone, outcome.needs_repair) == ("made", [], [])
    assert outcome.error_json() is None


def test_called_operation_is_undone_with_its_caller() -> None:
    @operation
    def inner(shell: Shell, name: str) -> str:
        shell.on_failure("drop", name)
        return shell.run("make", name).stdout

    @operation
    def outer(shell: Shell) -> None:
        shell.on_failure("drop", "outer")
        shell.fail(inner(shell, name="inner"))

    shell = FakeShell().expect("make inner", stdout="said").expect("drop inner")
    shell.expect("drop outer")
    outcome = perform(outer, shell)
    assert outcome.error is not None
    assert outcome.error.message == "said"
    assert outcome.undone == ["drop inner", "drop outer"]
    shell.finished()


# -- commands


def declared(**entry: Any) -> Command:
    return Command("test", CommandEntry(command="do", **entry))


def perform_declared(command: Command, shell: FakeShell, **options: object) -> ActionOutcome:
    return perform_command(command, shell.fake, check_options(command.options, options))


def test_command_answers_its_text() -> None:
    outcome = perform_declared(declared(), FakeShell().expect("do", stdout="a\n", stderr="b"))
    assert outcome.error is None
    assert outcome.output == "a\n"
    assert outcome.result is not None
    assert outcome.result.stderr == "b"


def test_command_of_a_folder_is_displayed_as_without() -> None:
    shell = FakeShell(settings={"TEST_BIN": "/opt/a b/bin"})
    command = declared()
    folder = program_folder(command, shell.context, "hpc")
    step = command_step(command, check_options(command.options, {"input": ["x"]}), folder)
    assert step.display == "do x"
    assert step.program is not None
    assert step.program.argv[:2] == ["/bin/sh", "-c"]
    assert step.program.argv[3:] == ["/opt/a b/bin", "do", "x"]
    plain = command_step(command, check_options(command.options, {}))
    assert plain.program is not None
    assert plain.program.argv == ["do"]


def test_failed_command_keeps_its_output() -> None:
    outcome = perform_declared(declared(), FakeShell().expect("do", stdout="a", exit_code=4))
    assert isinstance(outcome.error, CommandFailed)
    assert outcome.output == "a"
    assert outcome.error.details["step"]["exit_code"] == 4


@pytest.mark.parametrize(
    ("stdout", "output"),
    [('{"a": 1}', {"a": 1}), ("NaN", None), ('["\\ud83d"]', ["\ufffd"]), ("1e999", None)],
)
def test_json_of_a_command_can_be_answered(stdout: str, output: object) -> None:
    outcome = perform_declared(declared(output="json"), FakeShell().expect("do", stdout=stdout))
    assert (outcome.output, outcome.error) == (output, None)


@pytest.mark.parametrize("stdout", ["", "text", "[" * 100_000])
def test_command_whose_output_is_not_json_fails_and_keeps_its_output(stdout: str) -> None:
    outcome = perform_declared(declared(output="json"), FakeShell().expect("do", stdout=stdout))
    assert isinstance(outcome.error, OperationFailed)
    assert "not JSON" in outcome.error.message
    assert outcome.output == stdout


def test_command_line_that_cannot_be_sent_is_an_error_of_the_request() -> None:
    outcome = perform_declared(declared(), FakeShell(), input=["é" * 60_001])
    assert isinstance(outcome.error, InvalidOptions)


def test_secret_of_a_command_goes_by_standard_input() -> None:
    command = declared(options={"pw": {"flag": "--stdin", "secret": True}})
    shell = FakeShell().expect("do --stdin", input="hunter2")
    assert perform_declared(command, shell, pw="hunter2").error is None
    shell.finished()


@pytest.mark.parametrize(("exit_code", "retryable"), [(0, True), (1, False)])
def test_error_that_needs_repair_is_not_retryable(exit_code: int, retryable: bool) -> None:
    @operation
    def halfway(shell: Shell) -> None:
        shell.on_failure("drop", "a")
        raise DaemonUnavailable()

    outcome = perform(halfway, FakeShell().expect("drop a", exit_code=exit_code))
    error = outcome.error_json()
    assert error is not None
    assert error["retryable"] is retryable
