"""The first step of an operation, found without sending it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from resop import InvalidOptions, Operation, Secret, Shell, operation
from resop.actions.dry_run import first_step
from resop.actions.options import check_options
from resop.steps.step import StepRequest
from resop.testing import FakeShell


def first(act: Operation[..., Any], **given: Any) -> StepRequest | None:
    surroundings = FakeShell(settings={"NAME": "value"}).context
    return first_step(act, check_options(act.options, given), "ada", "hpc", surroundings)


def test_nothing_is_done_but_the_first_step_is_found() -> None:
    went_on = []

    @operation(preview=True)
    def stepping(shell: Shell, word: str, password: Secret) -> None:
        shell.log("begins")
        shell.on_failure("undo")
        with contextlib.suppress(Exception):
            shell.run("echo", word, shell.username, shell.setting("NAME"), input=password)
            went_on.append(1)
        went_on.append(2)

    step = first(stepping, word="a b", password="hunter2")
    assert step is not None
    assert (step.display, step.input) == ("echo 'a b' ada value", b"hunter2")
    assert step.secrets == ("hunter2",)
    assert went_on == []


def test_options_that_do_not_go_together_are_refused() -> None:
    @operation(preview=True)
    def refusing(shell: Shell) -> None:
        raise InvalidOptions([{"field": "a", "message": "not with b"}])

    with pytest.raises(InvalidOptions, match="a: not with b"):
        first(refusing)


def test_without_a_first_step_nothing_is_shown() -> None:
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
