"""The first step of an operation, found by playing it up to there: what a dry run shows."""

from __future__ import annotations

import logging
from typing import Any, NoReturn

from pydantic import BaseModel

from resop.actions.execute import perform_operation
from resop.actions.operation import Operation
from resop.actions.shell import Shell, ShellContext
from resop.errors import InvalidOptions
from resop.steps.step import StepRequest

log = logging.getLogger(__name__)


class _FirstStepReached(BaseException):
    """Leaves the operation where it would act; no author's `except Exception` is to catch it."""

    def __init__(self, step: StepRequest | None) -> None:
        self.step = step


class DryRunExecutor:
    """A door that nothing goes through."""

    def run(self, step: StepRequest) -> NoReturn:
        raise _FirstStepReached(step)

    def put(self, content: bytes, path: str, mode: int | None, overwrite: bool) -> NoReturn:
        raise _FirstStepReached(None)

    def get(self, path: str, limit: int) -> NoReturn:
        raise _FirstStepReached(None)

    def put_folder(self, content: bytes, path: str, merge: bool) -> NoReturn:
        raise _FirstStepReached(None)

    def get_folder(self, path: str, limit: int) -> NoReturn:
        raise _FirstStepReached(None)

    def copy(self, source: str, target: str, overwrite: bool) -> NoReturn:
        raise _FirstStepReached(None)

    def register_undo(self, undo: StepRequest) -> None:
        """Nothing will have to be undone."""

    def log(self, text: str) -> None:
        """Nobody listens."""

    def progress(self, done: float, total: float) -> None:
        """Nobody looks."""

    def log_fault(self, trace: str) -> None:
        log.error("preview: %s", trace)


def first_step(
    operation: Operation[..., Any],
    options: BaseModel,
    username: str,
    cluster: str,
    surroundings: ShellContext,
) -> StepRequest | None:
    """The first step, not sent; None if it is a file's transfer, or there is none.

    Raises InvalidOptions where the operation does; any other failure is left to its real run.
    """
    shell = Shell(username, cluster, DryRunExecutor(), surroundings, operation.operator)
    try:
        outcome = perform_operation(operation, shell, options)
    except _FirstStepReached as reached:
        return reached.step
    if isinstance(outcome.error, InvalidOptions):
        raise outcome.error
    return None
