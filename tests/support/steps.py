"""Steps as sessions are given them."""

from typing import Any

from resop.steps.step import StepRequest


def line_step(line: str, given: bytes | None = None, **more: Any) -> StepRequest:
    """The step that gives this line, and this standard input, to the login shell."""
    return StepRequest(line, line, given, **more)
