"""The types for options: which values each accepts."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from resop.types import MAX_ARGUMENT_BYTES, Argument, RemotePath, Secret, Username


def accepted(kind: Any, value: object) -> bool:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", ["ada", "_apt", "a.b-c_9", "a" * 32])
def test_posix_user_names_are_accepted(name: str) -> None:
    assert accepted(Username, name)


@pytest.mark.parametrize(
    "name", ["", "Ada", "-rf", "a b", "a;id", "ada\n", "../x", "9a", "a" * 33, "ädä", "a\x00"]
)
def test_invalid_user_name_is_refused(name: str) -> None:
    assert not accepted(Username, name)


@pytest.mark.parametrize("text", ["", "; id", "\n", "😀", "é" * (MAX_ARGUMENT_BYTES // 2)])
def test_any_text_that_linux_can_pass_is_an_argument(text: str) -> None:
    assert accepted(Argument, text)


@pytest.mark.parametrize("text", ["a\x00", "\ud800", "a" * (MAX_ARGUMENT_BYTES + 1), "é" * 65_536])
def test_text_that_linux_cannot_pass_is_not_an_argument(text: str) -> None:
    assert not accepted(Argument, text)


@pytest.mark.parametrize("path", ["", "a\x00b", "a" * 4097])
def test_invalid_path_is_refused(path: str) -> None:
    assert not accepted(RemotePath, path)
    assert accepted(RemotePath, "dir/with spaces; and\nlines")


def test_secret_is_masked_everywhere() -> None:
    secret = TypeAdapter(Secret).validate_python("hunter2")
    texts = f"{secret} {secret!r} {[secret]} {TypeAdapter(Secret).dump_json(secret)!r}"
    assert "hunter2" not in texts
    assert secret.get_secret_value() == "hunter2"
