"""The traced methods exist: the trace names them as text, which no rename finds."""

import inspect

import pytest

from bench.trace import MARKED, find_method


@pytest.mark.parametrize("method", MARKED)
def test_traced_method_exists(method: str) -> None:
    owner, name = find_method(method)
    assert inspect.isfunction(getattr(owner, name))
