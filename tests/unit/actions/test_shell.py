"""The shell of an operation: steps, their results, undo."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from resop.actions.shell import Shell
from resop.archives.entry import File
from resop.errors import (
    CommandFailed,
    ContactLost,
    InvalidOptions,
    NotPermitted,
    OperationFailed,
    OperationFault,
    PathFailed,
    ResopError,
    StepTimedOut,
    TaskCancelled,
)
from resop.steps.result import Result
from resop.testing import FakeShell
from resop.types import Secret
from tests.support.local_shell import local_shell

SECRET: Any = Secret("hunter2")


@pytest.mark.parametrize(
    "leak",
    [
        lambda shell: shell.run("mysql", SECRET),
        lambda shell: shell.run(SECRET),
        lambda shell: shell.script(SECRET),
        lambda shell: shell.run("mysql", env={"MYSQL_PWD": SECRET}),
        lambda shell: shell.run("ls", cwd=SECRET),
        lambda shell: shell.on_failure("mysql", SECRET),
    ],
)
def test_secret_never_reaches_a_command_line(leak: Callable[[Shell], object]) -> None:
    shell, executor = local_shell()
    with pytest.raises(OperationFault, match="pass it with input=") as refusal:
        leak(shell)
    assert "hunter2" not in str(refusal.value.as_json())
    assert executor.steps == []
    assert shell.undo() == ([], [])


@pytest.mark.parametrize("value", [None, ["a"], b"a", {"a": 1}])
def test_value_of_another_type_is_refused_as_an_argument(value: Any) -> None:
    shell, executor = local_shell()
    with pytest.raises(OperationFault, match=type(value).__name__):
        shell.run("echo", value)
    with pytest.raises(OperationFault, match="name of the program"):
        shell.run()
    assert executor.steps == []


@pytest.mark.parametrize("line", ["a\x00b", "\ud800", "x" * 130_001])
def test_script_that_cannot_be_sent_is_refused(line: str) -> None:
    shell, executor = local_shell()
    with pytest.raises(InvalidOptions, match="command line"):
        shell.script(line)
    assert executor.steps == []


# -- results


def test_lines_end_at_newlines_only() -> None:
    assert Result("a\nb c\n\x0b\u2028d\n").lines == ["a", "b c", "\x0b\u2028d"]
    assert Result("a\n\n").lines == ["a", ""]
    assert Result("no end").lines == ["no end"]
    assert Result("").lines == []


def test_json_is_parsed() -> None:
    assert Result('{"a": [1, null]}\n').json() == {"a": [1, None]}


@pytest.mark.parametrize("text", ["", "slurm_load_jobs error", "[" * 100_000])
def test_output_that_is_not_json_fails_and_shows_its_beginning(text: str) -> None:
    with pytest.raises(OperationFailed) as failure:
        Result(text, command="squeue --json").json()
    message = failure.value.message
    assert message.startswith("squeue --json: expected JSON (")
    assert len(message) < 400
    assert message.endswith(f"got {text!r}") or len(text) > 200


def test_no_half_of_a_secret_remains_at_the_cut() -> None:
    secret = "hunter2-and-more"
    with pytest.raises(OperationFailed) as failure:
        Result("word " * 38 + secret, command="x").json()
    assert "hunter2" not in failure.value.message


def test_failure_carries_the_last_lines_and_names_the_program() -> None:
    stderr = "\n".join(f"line {number}" for number in range(30)) + "\n"
    failure = Result("out", stderr, 2, command="cat 'a b'").failure().as_json()
    assert failure["message"] == "cat: line 29 (exit code 2)"
    assert failure["step"] == {
        "command": "cat 'a b'",
        "exit_code": 2,
        "stderr": "\n".join(f"line {number}" for number in range(20, 30)),
    }


@pytest.mark.parametrize(
    ("stdout", "stderr", "message"),
    [
        ("", "cat: x: No such file\n", "cat: x: No such file (exit code 1)"),
        ("it went wrong\n", " \n", "cat: it went wrong (exit code 1)"),
        ("", "", "cat: no message (exit code 1)"),
    ],
)
def test_failure_repeats_the_message_of_the_command(stdout: str, stderr: str, message: str) -> None:
    assert Result(stdout, stderr, 1, command="cat x").failure().message == message


# -- undo


def test_undo_runs_in_reverse_order_and_once() -> None:
    shell = FakeShell().expect("rm c").expect("rm b").expect("rm a")
    for name in "abc":
        shell.on_failure("rm", name)
    assert shell.undo() == (["rm c", "rm b", "rm a"], [])
    assert shell.undo() == ([], [])
    shell.finished()


def test_undo_reports_every_kind_of_failure_and_continues() -> None:
    shell = (
        FakeShell()
        .expect("undo 5")
        .expect("undo 4", stderr="busy\n", exit_code=1)
        .expect("undo 3", raises=ContactLost())
        .expect("undo 2", raises=StepTimedOut("too slow"))
        .expect("undo 1", raises=RuntimeError("hunter2"))
        .expect("undo 0", input="gone")
    )
    shell.on_failure("undo", "0", input="gone")
    for number in range(1, 6):
        shell.on_failure("undo", number)
    undone, needs_repair = shell.undo()
    assert undone == ["undo 5", "undo 0"]
    assert needs_repair == [
        "undo 4: undo: busy (exit code 1)",
        f"undo 3: {ContactLost.__doc__}",
        "undo 2: too slow",
        "undo 1: RuntimeError",
    ]
    shell.finished()


# -- map


def test_map_runs_calls_at_once_and_keeps_the_order() -> None:
    shell, _ = local_shell()
    together = threading.Barrier(3, timeout=5)
    turns = [threading.Event() for _ in range(3)]

    def late_first(number: int) -> int:
        together.wait()
        if number < 2:
            turns[number + 1].wait(5)
        turns[number].set()
        return number * 10

    assert shell.map(late_first, range(3), at_once=3) == [0, 10, 20]


def test_map_begins_no_call_after_a_failure() -> None:
    shell, _ = local_shell()
    begun: list[int] = []

    def failing(number: int) -> int:
        begun.append(number)
        if number > 0:
            threading.Event().wait(0.001)  # all of them take longer than the failure to be seen
        shell.fail("no")

    with pytest.raises(OperationFailed, match="no"):
        shell.map(failing, range(1000), at_once=1)
    assert len(begun) < 1000


def test_map_of_nothing_is_nothing() -> None:
    shell, _ = local_shell()
    assert shell.map(str, []) == []


# -- the rest


def test_setting_that_is_missing_is_named() -> None:
    shell = FakeShell(settings={"LDAP_BASE": "dc=x"})
    assert shell.setting("LDAP_BASE") == "dc=x"
    with pytest.raises(OperationFailed, match="LDAP_HOST"):
        shell.setting("LDAP_HOST")


def test_put_encodes_text_and_get_returns_bytes_within_the_limit() -> None:
    shell = FakeShell()
    shell.put("é", "a")
    shell.put(b"\xff", "b")
    assert (shell.get("a"), shell.get("b")) == ("é".encode(), b"\xff")
    with pytest.raises(PathFailed, match="more than 1 bytes"):
        shell.get("a", limit=1)


def test_put_keeps_the_mode_of_a_replaced_file_and_may_refuse_to_replace() -> None:
    shell = FakeShell()
    shell.put("one", "a", mode=0o750)
    shell.put("two", "a")
    assert shell.get_file("a") == File(b"two", 0o750)
    with pytest.raises(PathFailed) as fault:
        shell.put("three", "a", overwrite=False)
    assert fault.value.as_json() == {
        "type": "PathFailed",
        "message": "a: exists already",
        "retryable": False,
        "path": "a",
        "reason": "exists",
    }


def test_raw_output_stays_bytes() -> None:
    shell = FakeShell().expect("tar", stdout=b"\xff\0").expect("tar", stdout=b"\xff\0")
    assert shell.run("tar", raw=True) == Result(raw=b"\xff\0", command="tar")
    assert shell.run("tar") == Result(stdout="\ufffd\0", command="tar")


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        ("du: cannot access 'a': No such file or directory\n", "missing"),
        ("tar: a: Cannot open: Permission denied\ntar: Exiting with failure status\n", "denied"),
        ("mktemp: failed to create file via template 'a/X': Not a directory\n", "not_folder"),
        ("tee: a: Disk quota exceeded\n", "full"),
    ],
)
def test_failure_about_a_path_has_a_reason(stderr: str, reason: str) -> None:
    shell = FakeShell().expect("du a", stderr=stderr, exit_code=1)
    with pytest.raises(PathFailed) as fault:
        shell.run("du", "a", path="a")
    assert (fault.value.details["path"], fault.value.details["reason"]) == ("a", reason)
    assert fault.value.details["step"]["command"] == "du a"


def test_failure_without_a_reason_is_one_of_the_command() -> None:
    stderr = "du: invalid option: 'Permission denied'\n"
    shell = FakeShell().expect("du a", stderr=stderr, exit_code=1)
    with pytest.raises(CommandFailed):
        shell.run("du", "a", path="a")


def test_log_and_progress_reach_the_executor() -> None:
    shell = FakeShell()
    shell.log("half done")
    shell.progress(1, 2)
    assert shell.fake.log_lines == ["half done"]
    assert shell.fake.progress_reports == [(1, 2)]


def test_secret_setting_is_a_secret() -> None:
    settings = {"LDAP_PASSWORD": "hunter2", "ADMINISTRATORS": "root, ada"}
    shell = FakeShell(settings=settings)
    assert shell.secret("LDAP_PASSWORD") == Secret("hunter2")
    with pytest.raises(OperationFailed, match="the setting OTHER is missing"):
        shell.secret("OTHER")


@pytest.mark.parametrize("administrators", ["", "adam", "a,d,a", "ADA"])
def test_secret_setting_is_for_administrators_only(administrators: str) -> None:
    settings = {"LDAP_PASSWORD": "hunter2", "ADMINISTRATORS": administrators}
    with pytest.raises(NotPermitted) as refusal:
        FakeShell(settings=settings).secret("LDAP_PASSWORD")
    assert refusal.value.message == "only administrators of this service may run this action"


def test_administrator_ends_logins_and_lets_blocked_users_log_in_again() -> None:
    shell = FakeShell(settings={"ADMINISTRATORS": "ada"})
    shell.end_logins("bob")
    shell.end_logins("eve", block="suspended")
    assert shell.fake.ended_logins == {"bob": None, "eve": "suspended"}
    assert shell.allow_logins("eve")
    assert shell.fake.allowed_logins == ["eve"]


@pytest.mark.parametrize("administrators", ["", "adam", "a,d,a", "ADA"])
def test_nobody_else_ends_logins(administrators: str) -> None:
    shell = FakeShell(settings={"ADMINISTRATORS": administrators})
    with pytest.raises(NotPermitted):
        shell.end_logins("bob", block="envy")
    with pytest.raises(NotPermitted):
        shell.allow_logins("bob")
    assert (shell.fake.ended_logins, shell.fake.allowed_logins) == ({}, [])


@pytest.mark.parametrize("fault", [StepTimedOut, ContactLost, TaskCancelled])
def test_step_that_may_have_happened_is_undone(fault: type[ResopError]) -> None:
    shell = FakeShell().expect("add", raises=fault()).expect("remove")
    with pytest.raises(fault), shell.undone_by("remove"):
        shell.run("add")
    assert shell.undo() == (["remove"], [])


def test_step_that_was_not_sent_is_not_undone() -> None:
    late = StepTimedOut("the time is over; nothing was sent")
    late.nothing_sent = True
    shell = FakeShell().expect("add", raises=late)
    with pytest.raises(StepTimedOut), shell.undone_by("remove"):
        shell.run("add")
    assert shell.undo() == ([], [])


def test_undo_that_finds_nothing_is_neither_done_nor_needs_repair() -> None:
    shell = FakeShell().expect("remove 2", exit_code=6).expect("remove 1", stdout="none found\n")
    for number in "12":
        with pytest.raises(ContactLost), shell.undone_by("remove", number, absent=[6, "none fo"]):
            raise ContactLost
    assert shell.undo() == ([], [])
    assert shell.undo_report().as_json() == {"undone": [], "needs_repair": []}


def test_step_that_was_refused_is_not_undone() -> None:
    shell = FakeShell().expect("add", exit_code=1, stderr="it exists")
    with pytest.raises(CommandFailed), shell.undone_by("remove"):
        shell.run("add")
    assert shell.undo() == ([], [])


def test_successful_step_is_undone_when_a_later_one_fails() -> None:
    shell = FakeShell().expect("add").expect("remove", input="x")
    with shell.undone_by("remove", input="x"):
        shell.run("add")
    assert shell.undo() == (["remove"], [])
