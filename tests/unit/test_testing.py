"""The fake shell for authors' tests, which must refuse everything unexpected."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from resop import Secret, Shell, operation
from resop.actions.catalog import Catalog
from resop.actions.operation import Operation
from resop.errors import OperationFailed
from resop.testing import FakeShell, Scenario, UnexpectedStep, play, read_scenarios


def test_expected_steps_are_answered_in_order() -> None:
    shell = FakeShell().expect("a 'b c'", stdout="1").expect("a | b", stdout="2", input="x")
    assert shell.run("a", "b c").stdout == "1"
    assert shell.script("a | b", input="x").stdout == "2"
    shell.finished()


@pytest.mark.parametrize("input", [None, "", "other"])
def test_step_with_another_input_is_refused(input: str | None) -> None:
    with pytest.raises(UnexpectedStep):
        FakeShell().expect("cat", input="x").run("cat", input=input)


@pytest.mark.parametrize("expected", [["a b"], ["b", "a"], []])
def test_unexpected_step_is_refused_and_named(expected: list[str]) -> None:
    shell = FakeShell()
    for command in expected:
        shell.expect(command)
    with pytest.raises(UnexpectedStep, match=r"got: +'?a"):
        shell.run("a", check=False)


def test_missing_step_is_named() -> None:
    shell = FakeShell().expect("a").expect("b")
    shell.run("a")
    with pytest.raises(AssertionError, match=r"\['b'\]"):
        shell.finished()


@pytest.mark.parametrize(
    "refused",
    [
        lambda shell: shell.run("rm", "-rf", "/"),
        lambda shell: shell.get("no-such-file"),
        lambda shell: shell.command("squeue"),
        lambda shell: shell.map(lambda name: shell.run("rm", name), ["a", "b"]),
    ],
)
def test_refusal_surfaces_even_when_the_operation_catches_it(refused: Any) -> None:
    shell = FakeShell()
    with pytest.raises(UnexpectedStep):
        refused(shell)
    with pytest.raises(UnexpectedStep):
        shell.finished()


def test_map_runs_the_steps_in_order() -> None:
    shell = FakeShell()
    for number in range(20):
        shell.expect(f"do {number}", stdout=str(number))
    answers = shell.map(lambda number: shell.run("do", number).stdout, range(20))
    assert answers == [str(number) for number in range(20)]


def test_secret_input_is_masked_from_then_on() -> None:
    shell = FakeShell().expect("wc", input="hunter2").expect("echo ********")
    shell.run("wc", input=Secret("hunter2"))
    shell.run("echo", "hunter2")
    shell.log("it is hunter2")
    assert shell.fake.log_lines == ["it is ********"]
    shell.finished()


# -- called operations


@dataclass
class Pair:
    """Two numbers."""

    left: int
    right: int


@operation
def inner(shell: Shell, name: str, key: Secret | None = None, size: int = 1) -> Pair:
    """Run a step."""
    shell.run("inner", name)
    return Pair(size, size)


@operation
def outer(shell: Shell, name: str) -> int:
    """Call another operation between two steps."""
    shell.run("before")
    pair = inner(shell, name, key=Secret("hunter2"))
    shell.run("after")
    return pair.left + pair.right


CALL: dict[str, Any] = {"name": "ada", "key": "hunter2"}


def test_expected_call_is_answered_in_the_declared_type() -> None:
    shell = FakeShell().expect("before")
    shell.expect_call("other:inner", CALL, output={"left": 3, "right": 4}).expect("after")
    assert outer(shell, "ada") == 7
    shell.finished()


def test_call_that_is_not_expected_runs() -> None:
    shell = FakeShell().expect("before").expect("inner ada").expect("after")
    assert outer(shell, "ada") == 2
    shell.finished()


def test_expected_call_is_compared() -> None:
    output = {"left": 3, "right": 4}
    cases: list[tuple[str, dict[str, Any], Any, str]] = [
        ("a:inner", {"name": "ada"}, output, "with the options {'name': 'ada'}"),
        ("a:inner", {**CALL, "size": 1}, output, "got:      the options"),
        ("a:inner", CALL, {"left": "3", "right": 4}, "cannot come from this operation"),
        ("a:inner", CALL, None, "cannot come from this operation"),
        ("a:another", CALL, output, "expected: a call of a:another"),
    ]
    for name, options, answer, fault in cases:
        shell = FakeShell().expect("before").expect_call(name, options, output=answer)
        with pytest.raises(UnexpectedStep, match=re.escape(fault)):
            outer(shell, "ada")
        with pytest.raises(UnexpectedStep):
            shell.finished()
    shell = FakeShell().expect_call("a:inner", CALL, output=output)
    with pytest.raises(AssertionError, match="a call of a:inner"):
        shell.finished()


def test_expected_call_fails_and_registers_undo_steps() -> None:
    shell = FakeShell().expect("before")
    failure = OperationFailed("no room")
    shell.expect_call("a:inner", CALL, raises=failure, undo=["un 'do it'", "second"])
    shell.expect("second").expect("un 'do it'", exit_code=1)
    with pytest.raises(OperationFailed, match="no room"):
        outer(shell, "ada")
    assert shell.undo() == (["second"], ["un 'do it': un: no message (exit code 1)"])
    shell.finished()


# -- scenarios


@operation
def greet(shell: Shell, name: str, password: Secret | None = None) -> str:
    """Greet."""
    shell.on_failure("ungreet", name)
    shell.log(f"to {name}")
    answer = shell.run("greet", name, input=password).stdout
    return answer or shell.fail(f"no answer of {name}")


@operation
def copy(shell: Shell, source: str, target: str) -> str:
    """Copy a file."""
    file = shell.get_file(source)
    shell.put(file.content, target, mode=file.mode)
    return "copied"


@operation
def stubborn(shell: Shell) -> str:
    """Hide every failure."""
    try:
        shell.run("rm", "x")
    except Exception:
        return "fine"
    return "done"


def scenarios(folder: Path, cases: list[dict[str, Any]]) -> list[Scenario]:
    file = folder / "case.yml"
    file.write_text(yaml.safe_dump(cases))
    return read_scenarios(file)


def test_step_of_a_scenario_may_raise(tmp_path: Path) -> None:
    raised = {
        "StepTimedOut": {"message": "too long", "retryable": False},
        "ContactLost": {"type": "ContactLost"},
        "InvalidOptions": {"faults": [{"field": "a", "message": "b"}]},
        "PathFailed": {"path": "a", "reason": "denied", "message": "a: permission denied"},
    }
    details: dict[str, dict[str, Any]] = {
        "StepTimedOut": {"message": "too long"},
        "ContactLost": {},
        "InvalidOptions": {"message": "x", "faults": [{"field": "a", "message": "b"}]},
        "PathFailed": {"path": "a", "reason": "denied"},
    }
    for kind, error in raised.items():
        step = {**SILENT, "raises": {"type": kind, **details[kind]}}
        steps = [step, UNGREETED]
        play_case(tmp_path, greet, options={"name": "ada"}, steps=steps, error=error)


def play_case(folder: Path, action: Operation[..., Any], **case: Any) -> None:
    (scenario,) = scenarios(folder, [{"name": "it", **case}])
    play(scenario, action, Catalog([]))


GREETED = {"command": "greet ada", "stdout": "hello"}
SILENT = {"command": "greet ada"}
UNGREETED = {"command": "ungreet ada"}


@pytest.mark.parametrize(
    "case",
    [
        {"options": {"name": "ada"}, "steps": [GREETED], "output": "hello", "log": ["to ada"]},
        {
            "options": {"name": "ada"},
            "steps": [SILENT, UNGREETED],
            "error": {"type": "OperationFailed", "message": "no answer of ada"},
            "undone": ["ungreet ada"],
            "needs_repair": [],
        },
        {"options": {"nme": "ada"}, "invalid": ["nme", "name"]},
        {
            "options": {"name": "hunter2", "password": "hunter2"},
            "steps": [{"command": "greet ********", "input": "hunter2", "stdout": "hunter2"}],
            "output": "********",
        },
    ],
)
def test_scenario_with_the_right_answer_passes(tmp_path: Path, case: dict[str, Any]) -> None:
    play_case(tmp_path, greet, **case)


@pytest.mark.parametrize(
    "case",
    [
        {"steps": [GREETED], "output": "bye"},
        {"steps": [GREETED], "log": []},
        {"steps": [GREETED], "error": {"type": "OperationFailed"}},
        {"steps": [GREETED], "invalid": ["name"]},
        {"steps": [GREETED, SILENT], "output": "hello"},
        {"steps": [], "output": "hello"},
        {"steps": [SILENT, UNGREETED], "output": None},
        {"steps": [SILENT], "error": {"type": "OperationFailed"}},
        {"steps": [SILENT, UNGREETED], "error": {"type": "CommandFailed"}},
        {"steps": [SILENT, UNGREETED], "error": {}, "undone": []},
        {"steps": [SILENT, UNGREETED], "error": {}, "needs_repair": ["ungreet ada"]},
    ],
)
def test_scenario_with_a_wrong_answer_fails(tmp_path: Path, case: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        play_case(tmp_path, greet, options={"name": "ada"}, **case)


def test_refused_step_fails_a_scenario_whatever_the_operation_answers(tmp_path: Path) -> None:
    with pytest.raises(UnexpectedStep, match="rm x"):
        play_case(tmp_path, stubborn, output="fine")


def test_meaningless_scenario_is_refused_with_its_line(tmp_path: Path) -> None:
    step = "- name: it\n  steps:\n"
    cases = [
        ("- {name: it, output: 1}\n- name: it\n  outputs: 1\n", ":3: outputs: unknown key"),
        ("- {name: it, options: {}}\n", "expects nothing, so it tests nothing"),
        ("name: it\n", ":1: the file must be a list"),
        ("", ":1: the file must be a list"),
        ("- {name: it, name: it}\n", ":1: 'name' occurs twice"),
        (f"{step}    - {{command: a, std_out: x}}\n", ":3: steps.0.std_out: unknown key 'std_out'"),
        (f"{step}    - {{stdout: x}}\n", ":3: steps.0.command: is required"),
        (f"{step}    - {{call: a:b, command: x}}\n", ":3: steps.0: has 'call' and 'command'"),
        (f"{step}    - {{command: a, raises: {{type: Gone}}}}\n", "resop.errors has no Gone"),
        (
            f"{step}    - {{command: a, raises: {{type: PathFailed}}}}\n",
            "needs 'path', and 'reason'",
        ),
        ("- name: it\n  files: {a: {content: x, mode: 640}}\n  output: 1\n", "mode: must be text"),
        ("- name: it\n  output: 1\n  past_tasks: [{action: a}]\n", "past_tasks.0.options: is req"),
    ]
    for text, fault in cases:
        (tmp_path / "case.yml").write_text(text)
        with pytest.raises(ValueError, match=r"case\.yml:\d") as refusal:
            read_scenarios(tmp_path / "case.yml")
        assert fault in str(refusal.value), str(refusal.value)


COPY = {"options": {"source": "a", "target": "b"}}


@pytest.mark.parametrize(
    "case",
    [
        {"files": {"a": "é"}, "written": {"a": "é", "b": "é"}, "output": "copied"},
        {"files": {"a": b"\xff", "b": "old"}, "written": {"b": {"content": b"\xff"}}},
        {
            "files": {"a": {"content": "x", "mode": "640"}},
            "written": {"b": {"content": "x", "mode": "640"}},
        },
        {"files": {"a": {"reason": "denied"}}, "error": {"message": "a: permission denied"}},
        {"files": {"a": "x", "b": {"reason": "full"}}, "error": {"path": "b", "reason": "full"}},
    ],
)
def test_scenario_sets_files_and_checks_written_ones(tmp_path: Path, case: Any) -> None:
    play_case(tmp_path, copy, **COPY, **case)


@pytest.mark.parametrize(
    "case",
    [
        {"files": {"a": "x"}, "written": {"b": "y"}},
        {"files": {"a": "x"}, "written": {"c": "x"}},
        {"files": {"a": "x"}, "written": {"b": {"content": "x", "mode": "644"}}},
        {"output": "copied"},
    ],
)
def test_scenario_with_other_files_fails(tmp_path: Path, case: Any) -> None:
    with pytest.raises(AssertionError):
        play_case(tmp_path, copy, **COPY, **case)
