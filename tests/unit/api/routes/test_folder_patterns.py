"""The patterns of a folder's entries: fnmatch(3), at a bounded price."""

from __future__ import annotations

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api.routes.folders import MAX_PATTERN_CHARACTERS, ArchiveOptions, _entry_filter


def accepts(name: bytes, *patterns: str) -> bool:
    return _entry_filter(ArchiveOptions(include=list(patterns)))(name, False)


@given(st.text("ab[]!*?-", min_size=1, max_size=8), st.text("ab[]!-", min_size=1, max_size=8))
def test_patterns_are_those_of_fnmatch(pattern: str, name: str) -> None:
    assert accepts(name.encode(), pattern) == fnmatch.fnmatchcase(name, pattern)


@pytest.mark.parametrize("pattern", ["[", "[a", "*a", "*aaaaaaaaab", "?", "[!a]", "*?", "[]", "\\"])
def test_worst_patterns_on_the_longest_name_take_little_time(pattern: str) -> None:
    longest = (pattern * 1024)[:1024]
    began = time.process_time()
    for name in (b"a" * 255, b"/".join([b"a" * 255] * 15), b"[" * 255):
        accepts(name, longest, f"/{longest[:1000]}")
    assert time.process_time() - began < 5.0  # under a tracer too; backtracking would take hours


def test_patterns_that_are_too_long_in_all_are_refused() -> None:
    with pytest.raises(ValidationError, match=f"at most {MAX_PATTERN_CHARACTERS} characters"):
        ArchiveOptions(include=["*a" * 500] * 3)
