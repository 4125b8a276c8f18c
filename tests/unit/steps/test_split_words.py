"""A text is split into words as shlex does it, and in linear time."""

from __future__ import annotations

import shlex
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resop.steps.quoting import split_words

pytestmark = pytest.mark.slow


def outcome(text: str, split: object) -> object:
    try:
        return split(text)  # type: ignore[operator]
    except ValueError:
        return ValueError


@given(st.text("ab '\"\\\n\té"))
@example("a\\")
@example("'' \"\"")
def test_words_are_those_of_shlex(text: str) -> None:
    assert outcome(text, split_words) == outcome(text, shlex.split)


@given(st.lists(st.text()))
def test_quoted_words_come_back(words: list[str]) -> None:
    assert split_words(shlex.join(words)) == words


@pytest.mark.parametrize("piece", ["a", "a ", "'", '"', "\\", "\\a", '"\\"', "''", "'a'\"b\""])
def test_time_is_linear(piece: str) -> None:
    began = time.process_time()
    outcome(piece * 500_000, split_words)
    outcome(f'"{piece}' * 100_000, split_words)
    assert time.process_time() - began < 5.0  # a minute, where each character copies the word
