"""Says what becomes of a test whose surroundings are missing: skipped on a laptop, failed in CI."""

import os

import pytest


def need(reason: str | None) -> None:
    """Go on if `reason` is None; else skip with it, or fail where the environment has CI=true.

    In a test, a fixture, or at the top of a test module. CI fails because a suite that skips
    there by mistake looks just like one that passes.
    """
    if reason is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)
