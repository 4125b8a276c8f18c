"""The first step of an operation, found without sending it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from resop import InvalidOptions, Operation, Secret, Shell, operation
from resop.actions.first_step import first_step
from resop.actions.options import check_options
from resop.steps.step import StepRequest
from resop.testing import FakeShell


def first(action: Operation[..., Any], **values: Any) -> StepRequest | None:
    context = FakeShell(settings={"NAME": "value"}).context
    return first_step(action, check_options(action.options, values), "ada", "hpc", context)


def test_first_step_is_found_and_nothing_runs() -> None:
    reached = []

    @operation(preview=True)
    def stepping(shell: Shell, word: str, password: Secret) -> None:
        shell.log("begins")
        shell.on_failure("undo")
        with contextlib.suppress(Exception):
            shell.run("echo", word, shell.username, shell.setting("NAME"), input=password)
            reached.append(1)
        reached.append(2)

    step = first(stepping, word="a b", password="hunter2")
    assert step is not None
    assert (step.display, step.input) == ("echo 'a b' ada value", b"hunter2")
    assert step.secrets == ("hunter2",)
    assert reached == []


def test_options_that_exclude_each_other_are_refused() -> None:
    @operation(preview=True)
    def refusing(shell: Shell) -> None:
        raise InvalidOptions.of("a", "not with b")

    with pytest.raises(InvalidOptions, match="a: not with b"):
        first(refusing)


def test_operation_without_a_first_step_shows_none() -> None:
    @operation(preview=True)
    def reading(shell: Shell) -> bytes:
        return shell.get("file")

    @operation(preview=True)
    def writing(shell: Shell) -> None:
        shell.put("text", "file")

    @operation(preview=True)
    def failing(shell: Shell) -> None:
        shell.fail("no")

    @operation(preview=True)
    def mistaken(shell: Shell) -> None:
        shell.progress(1, 0)
        raise ZeroDivisionError

    assert [first(each) for each in (reading, writing, failing, mistaken)] == [None] * 4
