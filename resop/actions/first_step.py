"""Find the first step of an operation by running it up to that step; nothing is sent."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NoReturn

from pydantic import BaseModel

from resop.actions.execute import perform_operation
from resop.actions.executor import ShellContext
from resop.actions.operation import Operation
from resop.actions.shell import Shell
from resop.errors import InvalidOptions
from resop.security.identity import Identity
from resop.steps.step import StepRequest
from resop.steps.undo import UndoStep

log = logging.getLogger(__name__)


class _FirstStepReached(BaseException):
    """Leave the operation before its first step; `except Exception` must not catch this."""

    def __init__(self, step: StepRequest | None) -> None:
        self.step = step


class FirstStepExecutor:
    """A StepExecutor that sends nothing and stops the operation at its first step."""

    def run(self, step: StepRequest) -> NoReturn:
        """Stop the operation and return the step to `first_step`."""
        raise _FirstStepReached(step)

    def put(self, content: bytes, path: str, mode: int | None, overwrite: bool) -> NoReturn:
        """Stop the operation: a transfer is not shown."""
        raise _FirstStepReached(None)

    def get(self, path: str, limit: int) -> NoReturn:
        """Stop the operation: a transfer is not shown."""
        raise _FirstStepReached(None)

    def put_folder(self, content: bytes, path: str, merge: bool) -> NoReturn:
        """Stop the operation: a transfer is not shown."""
        raise _FirstStepReached(None)

    def get_folder(self, path: str, limit: int) -> NoReturn:
        """Stop the operation: a transfer is not shown."""
        raise _FirstStepReached(None)

    def copy(self, source: str, target: str, overwrite: bool) -> NoReturn:
        """Stop the operation: a transfer is not shown."""
        raise _FirstStepReached(None)

    def record_undo(self, steps: Sequence[UndoStep]) -> None:
        """Ignore the undo steps: nothing is done that would need them."""

    def update_undo(self, steps: Sequence[UndoStep], *, sending: bool = False) -> None:
        """Ignore the undo steps: nothing is done that would need them."""

    def take_over_undo(self, task: str, identity: Identity, is_administrator: bool) -> NoReturn:
        """Stop the operation: the task lists the steps of a repair."""
        raise _FirstStepReached(None)

    def log(self, text: str) -> None:
        """Ignore the line: there is no task with a log."""

    def progress(self, done: float, total: float) -> None:
        """Ignore the progress."""

    def log_fault(self, trace: str) -> None:
        """Write the traceback to the service's log."""
        log.error("first step: %s", trace)


def first_step(
    operation: Operation[..., Any],
    options: BaseModel,
    username: str,
    cluster: str,
    context: ShellContext,
) -> StepRequest | None:
    """Return the operation's first step without sending it; None if there is none to show.

    A file transfer is not shown. Raises InvalidOptions where the operation does; any other
    failure is left to the real run.
    """
    shell = Shell(username, cluster, FirstStepExecutor(), context, operation.operator)
    try:
        outcome = perform_operation(operation, shell, options)
    except _FirstStepReached as reached:
        return reached.step
    if isinstance(outcome.error, InvalidOptions):
        raise outcome.error
    return None
