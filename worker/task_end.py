"""The end of a task: its state, its columns, and the line in the worker's log."""

from __future__ import annotations

import json
import logging
from typing import Any

from resop.actions.execute import ActionOutcome
from resop.config.logging import log_event
from resop.errors import ContactLost, OperationFault, StepTimedOut, TaskCancelled
from resop.storage.models import ClaimedTask, State
from worker.step_executor import SshStepExecutor

log = logging.getLogger(__name__)

MAX_ANSWER_CHARS = 8 << 20
"""The longest answer of an operation, in characters of its JSON."""


def final_state(outcome: ActionOutcome) -> State:
    """Return the state in which a task ends."""
    match outcome.error:
        case None:
            return State.SUCCEEDED
        case StepTimedOut():
            return State.TIMED_OUT
        case ContactLost():
            return State.LOST
        case TaskCancelled():
            return State.CANCELLED
        case _:
            return State.FAILED


def final_values(outcome: ActionOutcome, executor: SshStepExecutor | None) -> dict[str, Any]:
    """Return the columns of an ended task, secrets masked.

    `executor` is None for a task that could not be opened.
    """
    if executor is None:
        return {"error": outcome.error_json()}
    _refuse_long_answer(outcome)
    masked = executor.masker.json
    values = {
        "output": masked(outcome.output),
        "error": masked(outcome.error_json()),
        "log": executor.task_log.lines,
        "progress": executor.task_log.progress,
        "pending_undo": executor.undo_log.unsettled if outcome.needs_repair else None,
    }
    if outcome.result is not None:
        values |= {
            "stderr": masked(outcome.result.stderr),
            "exit_code": outcome.result.exit_code,
            "truncated": outcome.result.truncated,
        }
    return values


def log_end(task: ClaimedTask, state: State, seconds: float, outcome: ActionOutcome) -> None:
    """Write the end of a task to the worker's log."""
    log_event(
        log,
        "task",
        task=task.id,
        request=task.request,
        user=task.username,
        cluster=task.cluster,
        action=f"{task.operator}:{task.action}",
        state=state,
        seconds=seconds,
        error=type(outcome.error).__name__ if outcome.error else "",
    )


def _refuse_long_answer(outcome: ActionOutcome) -> None:
    """Fail an operation whose answer is too long; a step's output is bounded where it is read."""
    if outcome.result is None and outcome.output is not None:
        size = len(json.dumps(outcome.output))
        if size > MAX_ANSWER_CHARS:
            outcome.output = None
            outcome.error = OperationFault(
                f"the operation's answer has {size} characters as JSON, more than the limit of "
                f"{MAX_ANSWER_CHARS}: have the operation write it to a file"
            )
