"""The answer of an operation against its declared return type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from resop import Operation, Shell, operation
from resop.actions.answer import MAX_FAULTS, check_answer
from resop.actions.execute import ActionOutcome, perform_operation
from resop.actions.options import check_options
from resop.errors import OperationFault
from resop.testing import FakeShell


class Node(TypedDict, total=False):
    """A node of a cluster."""

    name: str
    cores: int
    tags: list[str]


@dataclass
class Pair:
    """Two numbers."""

    left: int
    right: float


class Colour(StrEnum):
    """One of a few."""

    RED = "red"


class Model(BaseModel):
    """A model."""

    when: datetime


def returning(hint: Any, value: Any) -> Operation[..., Any]:
    def answered(shell: Shell) -> Any:
        shell.on_failure("undo")
        return value

    answered.__annotations__["return"] = hint
    return operation(answered)


def performed(hint: Any, value: Any) -> ActionOutcome:
    action = returning(hint, value)
    shell = FakeShell().expect("undo")
    return perform_operation(action, shell, check_options(action.options, {}))


NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def test_answer_of_the_declared_type_is_the_output() -> None:
    right: list[tuple[Any, Any, Any]] = [
        (int, 5, 5),
        (float, 5, 5),
        (float | None, float("nan"), None),
        (None, None, None),
        (bytes, b"x", "x"),
        (Path, Path("/a"), "/a"),
        (datetime, NOON, "2026-01-02T12:00:00Z"),
        (Literal["a", "b"], "b", "b"),
        (Colour, Colour.RED, "red"),
        (Pair, Pair(1, 2), {"left": 1, "right": 2}),
        (Model, Model(when=NOON), {"when": "2026-01-02T12:00:00Z"}),
        (Node, {"name": "n1", "more": 1}, {"name": "n1", "more": 1}),
        (list[Node], [{"cores": 2}, {}], [{"cores": 2}, {}]),
        (tuple[int, str], (1, "a"), [1, "a"]),
        (set[int], {1}, [1]),
        (dict[str, int | None], {"a": None}, {"a": None}),
        (dict[int, str], {1: "a"}, {"1": "a"}),
        (Iterator[int], iter([1, 2]), [1, 2]),
        (Any, "anything", "anything"),
        (object, 1, 1),
        (Callable[[], int], 1, 1),
        (Shell, "no JSON schema", "no JSON schema"),
    ]
    for hint, value, output in right:
        outcome = performed(hint, value)
        assert (outcome.output, outcome.error) == (output, None), hint


def test_answer_of_another_type_is_a_fault_that_names_operation_and_field() -> None:
    wrong: list[tuple[Any, Any, str]] = [
        (int, "5", "output: must be a whole number"),
        (int, 5.5, "output: must be a whole number"),
        (int, True, "output: must be a whole number"),
        (int, None, "output: must be a whole number"),
        (str, 5, "output: must be text"),
        (None, "done", "output: must be null"),
        (bool, "true", "output: must be true or false"),
        (float, float("nan"), "output: must be a number"),
        (list[int], "5", "output: must be a list"),
        (list[int], [1, "x", "y"], "output.1: must be a whole number"),
        (
            Node,
            {"name": 1, "cores": "2"},
            "output.name: must be text; output.cores: must be a whole",
        ),
        (list[Node], [{"tags": [1]}], "output.0.tags.0: must be text"),
        (Pair, {"left": 1}, "output.right: is required"),
        (Literal["a", "b"], "c", "output: must be 'a' or 'b'"),
        (Annotated[int, Field(ge=1)], 0, "output: must be at least 1"),
        (int | None, "x", "output: must be a whole number"),
        (datetime, "noon", "output: must be a date and time"),
    ]
    for hint, value, message in wrong:
        outcome = performed(hint, value)
        assert isinstance(outcome.error, OperationFault), hint
        assert outcome.error.message.startswith(
            f":answered: the answer does not have the declared return type: {message}"
        ), outcome.error.message
        assert outcome.error.details["faults"][0]["field"].startswith("output")
        assert outcome.undone == ["undo"], "it is undone like any other failure"
    assert performed(int, "5").output == "5", "what was returned is not lost"


def test_fault_shows_no_value_and_not_every_field() -> None:
    outcome = performed(dict[str, int], {f"a{n}": "hunter2" for n in range(1000)})
    assert outcome.error is not None
    assert "hunter2" not in str(outcome.error_json())
    assert len(outcome.error.details["faults"]) == MAX_FAULTS


def test_checked_answer_has_the_declared_type() -> None:
    pair = check_answer("a:b", returning(Pair, None).function, {"left": 1, "right": 2})
    assert pair == Pair(1, 2)
    with pytest.raises(OperationFault, match=r"^a:b: the answer"):
        check_answer("a:b", returning(Pair, None).function, {"left": "1", "right": 2})
