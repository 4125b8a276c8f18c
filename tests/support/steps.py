"""Step requests, the input of sessions."""

from typing import Any

from resop.steps.step import StepRequest


def line_step(line: str, stdin: bytes | None = None, **more: Any) -> StepRequest:
    """Build a step that passes a line and standard input to the login shell."""
    return StepRequest(line, line, stdin, **more)
