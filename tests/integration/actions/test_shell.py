"""Steps of a shell, run by a real shell on this machine."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from resop.errors import (
    CommandFailed,
)
from resop.limits import OUTPUT_LIMIT
from resop.steps.step import UNDO_SECONDS
from resop.types import Secret
from tests.support.local_shell import local_shell


def test_run_passes_arguments_input_folder_and_environment(tmp_path: PurePosixPath) -> None:
    shell, _ = local_shell()
    program = 'printf "%s|" "$PWD" "$LEVEL" "$@"; cat'
    argv = ("sh", "-c", program, "sh", "; id", 7, 1.5, PurePosixPath("/a b"))
    result = shell.run(*argv, input="in\n", cwd=str(tmp_path), env={"LEVEL": "!"})
    assert result.stdout == f"{tmp_path}|!|; id|7|1.5|/a b|in\n"


def test_standard_input_is_closed_unless_given() -> None:
    shell, executor = local_shell()
    shell.run("true")
    shell.run("cat", input=b"\xff\x00")
    shell.run("cat", input=Secret("hunter2"))
    shell.script("cat", input="")
    assert [step.input for step in executor.steps] == [None, b"\xff\x00", b"hunter2", b""]
    assert [step.secrets for step in executor.steps] == [(), (), ("hunter2",), ()]
    assert "hunter2" not in executor.steps[2].line + executor.steps[2].display


def test_script_is_the_line_itself() -> None:
    shell, executor = local_shell()
    assert shell.script("echo 'a b' | tr a-z A-Z", timeout=3).stdout == "A B\n"
    assert executor.steps[0].line == executor.steps[0].display == "echo 'a b' | tr a-z A-Z"
    assert executor.steps[0].timeout == 3


def test_unsuccessful_step_is_a_failure_unless_it_is_not_to_be_checked() -> None:
    shell, _ = local_shell()
    assert shell.script("exit 3", check=False).exit_code == 3
    with pytest.raises(CommandFailed, match="exit code 3"):
        shell.script("exit 3")


def test_undo_has_time_of_its_own() -> None:
    shell, executor = local_shell()
    shell.on_failure("true")
    shell.undo()
    assert [(step.undo, step.timeout) for step in executor.steps] == [(True, UNDO_SECONDS)]


def test_step_about_a_path_speaks_english() -> None:
    shell, _ = local_shell()
    given = {"LC_ALL": "de_DE.UTF-8", "A": "b"}
    result = shell.run("sh", "-c", 'echo "$LC_ALL $A"', path="a", env=given)
    assert result.stdout == "C b\n"


def test_input_of_several_parts_hides_each_secret_by_itself() -> None:
    shell, executor = local_shell()
    result = shell.run("cat", input=[Secret("hunter2"), "\n", b"dn: x\n"])
    assert result.stdout == "hunter2\ndn: x\n"
    assert executor.steps[0].secrets == ("hunter2",)


def test_more_output_is_kept_where_a_step_asks_for_it() -> None:
    shell, executor = local_shell()
    shell.run("true", max_output=1 << 24)
    shell.run("true")
    assert [step.max_output for step in executor.steps] == [1 << 24, OUTPUT_LIMIT]
