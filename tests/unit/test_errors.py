"""The error tree: one JSON shape, and a drawing that matches the classes."""

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


def parse_tree() -> dict[str, str | None]:
    """Return each class in the drawing at the top of errors.py with its parent."""
    ancestors: list[tuple[int, str]] = []
    parents: dict[str, str | None] = {}
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"([│├└─ ]*)([A-Z]\w+)(?:  +|$)", line):
            depth = len(match[1])
            ancestors = [each for each in ancestors if each[0] < depth]
            parents[match[2]] = ancestors[-1][1] if ancestors else None
            ancestors.append((depth, match[2]))
    return parents


def test_drawing_matches_the_classes() -> None:
    bases = {kind.__name__: kind.__bases__[0].__name__ for kind in KINDS}
    assert parse_tree() == bases | {"ResopError": None}


def example(kind: type[ResopError]) -> ResopError:
    if kind is InvalidOptions:
        return InvalidOptions.of("a", "is wrong")
    if kind is PathFailed:
        return PathFailed("a", "missing")
    if kind in (TooManyAttempts, RangeNotSatisfiable, UploadMismatch):
        return kind(5)
    return kind()


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_the_one_json_shape(kind: type[ResopError]) -> None:
    answer = json.loads(json.dumps(example(kind).as_json()))
    assert list(answer)[:3] == ["type", "message", "retryable"]
    assert answer["type"] == kind.__name__
    assert answer["message"] == str(example(kind))
    assert answer["message"].strip()


@pytest.mark.parametrize("kind", KINDS)
def test_message_is_one_line(kind: type[ResopError]) -> None:
    assert "\n" not in example(kind).message


def test_only_errors_that_are_safe_to_repeat_are_retryable() -> None:
    retryable = {kind.__name__ for kind in KINDS if kind.retryable}
    assert retryable == {
        *("TooManyAttempts", "LimitReached", "ClusterUnreachable", "RequestTimedOut"),
        *("DaemonUnavailable", "ServiceError", "ServiceBusy", "QueueUnavailable"),
        "RecordsUnavailable",
    }


def test_details_follow_the_message() -> None:
    error = errors.CommandFailed("cat: no", step={"command": "cat x"})
    assert error.as_json() == {
        "type": "CommandFailed",
        "message": "cat: no",
        "retryable": False,
        "step": {"command": "cat x"},
    }


def test_every_fault_of_a_request_is_in_the_message() -> None:
    faults = [{"field": "a", "message": "is wrong"}, {"field": "b", "message": "is missing"}]
    error = InvalidOptions(faults)
    assert error.message == "a: is wrong; b: is missing"
    assert error.as_json()["faults"] == faults


def test_single_fault_has_a_shorthand() -> None:
    error = InvalidOptions.of("user", "must not be root")
    assert error.message == "user: must not be root"
    assert error.details["faults"] == [{"field": "user", "message": "must not be root"}]


def test_each_waiter_gets_its_own_copy() -> None:
    error = errors.QueueUnavailable()
    error.__cause__ = OSError("refused")
    duplicate = error.copy()
    duplicate.details["task"] = "1"
    assert (duplicate.message, duplicate.__cause__) == (error.message, error.__cause__)
    assert error.details == {}


def test_waiting_time_is_a_detail() -> None:
    assert TooManyAttempts(30).as_json()["retry_after"] == 30
