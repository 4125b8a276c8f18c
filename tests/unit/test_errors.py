"""The error tree: one shape, and the picture of it stays true."""

from __future__ import annotations

import inspect
import json
import re

import pytest

from resop import errors
from resop.errors import (
    InvalidOptions,
    PathFailed,
    RangeNotSatisfiable,
    ResopError,
    TooManyAttempts,
    UploadMismatch,
)

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, ResopError) and kind.__module__ == errors.__name__
]


def drawn() -> dict[str, str | None]:
    """Each class of the picture at the top of errors.py with the one above it."""
    above: list[tuple[int, str]] = []
    found: dict[str, str | None] = {}
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"([│├└─ ]*)([A-Z]\w+)(?:  +|$)", line):
            depth = len(match[1])
            above = [each for each in above if each[0] < depth]
            found[match[2]] = above[-1][1] if above else None
            above.append((depth, match[2]))
    return found


def test_picture_shows_the_tree_as_it_is() -> None:
    bases = {kind.__name__: kind.__bases__[0].__name__ for kind in KINDS}
    assert drawn() == bases | {"ResopError": None}


def example(kind: type[ResopError]) -> ResopError:
    if kind is InvalidOptions:
        return InvalidOptions([{"field": "a", "message": "is wrong"}])
    if kind is PathFailed:
        return PathFailed("a", "missing")
    if kind in (TooManyAttempts, RangeNotSatisfiable, UploadMismatch):
        return kind(5)
    return kind()


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_the_one_json_shape(kind: type[ResopError]) -> None:
    shown = json.loads(json.dumps(example(kind).as_json()))
    assert list(shown)[:3] == ["type", "message", "retryable"]
    assert shown["type"] == kind.__name__
    assert shown["message"] == str(example(kind))
    assert shown["message"].strip()


@pytest.mark.parametrize("kind", KINDS)
def test_message_is_one_line(kind: type[ResopError]) -> None:
    assert "\n" not in example(kind).message


def test_only_what_was_surely_not_done_may_be_asked_again() -> None:
    retryable = {kind.__name__ for kind in KINDS if kind.retryable}
    assert retryable == {
        *("TooManyAttempts", "LimitReached", "ClusterUnreachable"),
        *("DaemonUnavailable", "ServiceError", "QueueUnavailable", "RecordsUnavailable"),
    }


def test_details_stand_beside_the_message() -> None:
    error = errors.CommandFailed("cat: no", step={"command": "cat x"})
    assert error.as_json() == {
        "type": "CommandFailed",
        "message": "cat: no",
        "retryable": False,
        "step": {"command": "cat x"},
    }


def test_every_fault_of_a_request_is_told() -> None:
    faults = [{"field": "a", "message": "is wrong"}, {"field": "b", "message": "is missing"}]
    error = InvalidOptions(faults)
    assert error.message == "a: is wrong; b: is missing"
    assert error.as_json()["faults"] == faults


def test_waiting_time_is_told() -> None:
    assert TooManyAttempts(30).as_json()["retry_after"] == 30
