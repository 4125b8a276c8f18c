"""The types for options: which values each accepts."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import Field, TypeAdapter, ValidationError

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


class Key(Secret):
    max_bytes = 10_000


@pytest.mark.parametrize(
    ("kind", "text", "limit"),
    [
        (Secret, "x" * 4097, 4096),
        (Secret, "ä" * 2049, 4096),
        (Secret | None, "'" * (1 << 20), 4096),
        (Annotated[Secret, Field(min_length=1)], "'" * 5000, 4096),
        (list[Secret], ["x", "y" * 5000], 4096),
        (Key, "x" * 10_001, 10_000),
    ],
)
def test_secret_that_is_too_long_is_refused(kind: Any, text: Any, limit: int) -> None:
    with pytest.raises(ValidationError, match=f"must have at most {limit} bytes"):
        TypeAdapter(kind).validate_python(text)


def test_secret_of_the_longest_length_is_taken_and_described() -> None:
    for kind in (Secret, Key):
        adapter = TypeAdapter(kind)
        assert adapter.validate_python("x" * kind.max_bytes) == kind("x" * kind.max_bytes)
        assert adapter.json_schema()["maxLength"] == kind.max_bytes
        assert adapter.json_schema()["writeOnly"] is True
