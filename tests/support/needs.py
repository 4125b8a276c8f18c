"""Skip a test that this machine cannot run, or fail it in CI."""

import os

import pytest


def need(reason: str | None) -> None:
    """Skip with `reason` unless it is None; fail instead if the environment has CI=true.

    Call it in a test, a fixture, or at the top of a test module. CI must fail because a suite that
    skips by mistake looks just like a suite that passes.
    """
    if reason is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)
