"""Runs one action through a shell: the same code in a worker and in an author's tests."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from resop.actions.command import Command
from resop.actions.operation import Operation
from resop.actions.shell import Shell, StepExecutor
from resop.errors import OperationFailed, OperationFault, ResopError
from resop.steps.json_text import encodable
from resop.steps.result import Result
from resop.steps.step import StepRequest, step_request


@dataclass(slots=True)
class ActionOutcome:
    """What became of an action."""

    output: Any = None
    result: Result | None = None
    """The one step of a command."""
    error: ResopError | None = None
    undone: list[str] = field(default_factory=list)
    needs_repair: list[str] = field(default_factory=list)

    def error_json(self) -> dict[str, Any] | None:
        """The `error` of an answer: what failed, what was undone, what a person must repair."""
        if self.error is None:
            return None
        report = {
            # Asked again, it would meet what is left of this time.
            "retryable": self.error.retryable and not self.needs_repair,
            "undone": self.undone,
            "needs_repair": self.needs_repair,
        }
        shown: dict[str, Any] = encodable({**self.error.as_json(), **report})
        return shown


def command_step(command: Command, options: BaseModel) -> StepRequest:
    """The one step of a command. Raises InvalidOptions for what no command line can carry."""
    invocation = command.invocation(options)
    return step_request(invocation.argv, invocation.stdin, command.timeout)


def command_outcome(command: Command, result: Result) -> ActionOutcome:
    """What a command's step means: a non-zero exit code is a CommandFailed, its output kept."""
    if result.exit_code != 0:
        return ActionOutcome(result.stdout, result, result.failure())
    try:
        return ActionOutcome(command.answer(result.stdout), result)
    except ValueError as fault:
        fault_shown = f"{command.name}: its output is not JSON: {fault}"
        return ActionOutcome(result.stdout, result, OperationFailed(fault_shown))


def perform_command(command: Command, door: StepExecutor, options: BaseModel) -> ActionOutcome:
    """Run a declared command through a door."""
    try:
        return command_outcome(command, door.run(command_step(command, options)))
    except ResopError as fault:
        return ActionOutcome(error=fault)


def perform_operation(
    operation: Operation[..., Any], shell: Shell, options: BaseModel
) -> ActionOutcome:
    """Run an operation; when it fails, undo in reverse what it had registered."""
    outcome = ActionOutcome()
    try:
        answer = operation(shell, **operation.arguments(options))
        outcome.output = encodable(to_jsonable_python(answer, inf_nan_mode="null"))
    except ResopError as fault:
        outcome.error = fault
    except PydanticSerializationError as fault:
        outcome.error = OperationFault(f"{operation.title}: the answer is not JSON: {fault}")
    except (Exception, SystemExit) as fault:
        # An author's code may raise anything; the caller learns what, the log has where.
        shell.executor.log_fault(f"operation {operation.title}: {traceback.format_exc()}")
        outcome.error = OperationFault(
            f"{operation.title}: {type(fault).__name__} in its code{_line(operation, fault)}; "
            "the worker's log has more"
        )
    if outcome.error is not None:
        outcome.undone, outcome.needs_repair = shell.undo()
    return outcome


def _line(operation: Operation[..., Any], fault: BaseException) -> str:
    """The last line of the operation's own file that the fault came through."""
    file = operation.function.__code__.co_filename
    own = [f.lineno for f in traceback.extract_tb(fault.__traceback__) if f.filename == file]
    return f", line {own[-1]}" if own else ""
