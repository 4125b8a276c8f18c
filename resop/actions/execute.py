"""Run one action through an executor: the same code in a worker and in an author's tests."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from resop.actions.answer import check_answer
from resop.actions.command import Command
from resop.actions.executor import ShellContext, StepExecutor
from resop.actions.operation import Operation
from resop.actions.shell import Shell
from resop.errors import OperationFailed, OperationFault, ResopError
from resop.security.masking import SecretPlace, plain, secret_places
from resop.steps.json_text import encodable
from resop.steps.result import Result
from resop.steps.step import StepRequest, step_request
from resop.steps.undo import UndoRecord, UndoReport

_IN_FOLDER = 'PATH="$0:$PATH"; export PATH; exec "$@"'


@dataclass(slots=True)
class ActionOutcome:
    """The outcome of an action: its output, or its error and what was undone."""

    output: Any = None
    result: Result | None = None
    """The result of a command's only step."""
    error: ResopError | None = None
    undone: list[str] = field(default_factory=list)
    """The undo steps that succeeded, as command lines."""
    needs_repair: list[str] = field(default_factory=list)
    """The undo steps that remain to be run, as command lines with the reason."""
    repair: list[UndoRecord] = field(default_factory=list)
    """The same steps as objects, for a repair."""
    secrets: list[tuple[SecretPlace, str]] = field(default_factory=list)
    """The secrets of the answer, which are masked in `output`, with their places there."""

    def texts(self) -> list[Any]:
        """Return everything in the outcome that may be long."""
        result = self.result
        texts = [self.undone, self.needs_repair, self.repair]
        return [self.output, result and result.stderr, *texts]

    def set_undo(self, found: UndoReport) -> None:
        """Set what was undone, and what remains."""
        self.undone, self.needs_repair = found.undone, found.needs_repair
        self.repair = found.repair

    def error_json(self) -> dict[str, Any] | None:
        """Return the `error` of an answer: the failure, what was undone and what needs repair."""
        if self.error is None:
            return None
        report = {
            # A second run would meet the remains of this one.
            "retryable": self.error.retryable and not self.needs_repair,
            "undone": self.undone,
            "needs_repair": self.needs_repair,
            **({"repair": self.repair} if self.repair else {}),
        }
        answer: dict[str, Any] = encodable({**self.error.as_json(), **report})
        return answer


def program_folder(command: Command, context: ShellContext, cluster: str) -> str | None:
    """Return the folder of the operator's programs on the login nodes, a setting of the site.

    The setting is named after the operator: SLURM_BIN. None if the login's PATH has them.
    """
    return context.setting(f"{command.operator.upper()}_BIN", command.operator, cluster)


def command_step(command: Command, options: BaseModel, folder: str | None = None) -> StepRequest:
    """Return the only step of a command; `folder` comes first on its PATH.

    Raises InvalidOptions for options that no command line can carry.
    """
    invocation = command.invocation(options)
    launcher = ("/bin/sh", "-c", _IN_FOLDER, folder) if folder else ()
    return step_request(invocation.argv, invocation.stdin, command.timeout, launcher=launcher)


def command_outcome(command: Command, result: Result) -> ActionOutcome:
    """Return the outcome of a command's step; with a non-zero exit code, a CommandFailed."""
    if result.exit_code != 0:
        return ActionOutcome(result.stdout, result, result.failure())
    try:
        return ActionOutcome(command.answer(result.stdout), result)
    except ValueError as error:
        message = f"{command.name}: its output is not JSON: {error}"
        return ActionOutcome(result.stdout, result, OperationFailed(message))


def perform_command(command: Command, executor: StepExecutor, options: BaseModel) -> ActionOutcome:
    """Run a declared command."""
    try:
        return command_outcome(command, executor.run(command_step(command, options)))
    except ResopError as error:
        return ActionOutcome(error=error)


def perform_operation(
    operation: Operation[..., Any], shell: Shell, options: BaseModel
) -> ActionOutcome:
    """Run an operation; if it fails, run the registered undo steps in reverse order."""
    outcome = ActionOutcome()
    try:
        answer = operation(shell, **operation.arguments(options))
        if operation.returns_secret:
            outcome.secrets = list(secret_places(answer))
            answer = plain(answer, reveal=False)
        outcome.output = encodable(to_jsonable_python(answer, inf_nan_mode="null"))
        check_answer(operation.title, operation.function, outcome.output)
    except ResopError as error:
        outcome.error = error
    except PydanticSerializationError as error:
        outcome.error = OperationFault(f"{operation.title}: the answer is not JSON: {error}")
    except (Exception, SystemExit) as error:
        # An author's code may raise anything; the caller gets its kind, the log the traceback.
        shell.executor.log_fault(f"operation {operation.title}: {traceback.format_exc()}")
        outcome.error = OperationFault(
            f"{operation.title}: {_kind(error)} in its code{_line(operation, error)}; "
            "the worker's log has the traceback"
        )
    if outcome.error is not None:
        shell.undo()
        outcome.set_undo(shell.undo_report())
    return outcome


def _kind(error: BaseException) -> str:
    """Return the type of an error, and the name of a module that is missing."""
    kind = type(error).__name__
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{kind} ({error.name!r} is not installed)"
    return kind


def _line(operation: Operation[..., Any], error: BaseException) -> str:
    """Return the last line of the operation's own file in the traceback."""
    file = operation.function.__code__.co_filename
    own = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f", line {own[-1]}" if own else ""
