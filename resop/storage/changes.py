"""Changes to running tasks and their steps, which `TaskStore.apply` writes in groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from sqlalchemy import Update, bindparam, insert, update

from resop.errors import RecordRefused
from resop.plain_text import shorten
from resop.storage.models import STEP, STEP_OUTPUT, TASK, State, Step, StepOutput, now

_RESULT_COLUMNS = (
    *("state", "ended_at", "seconds", "output", "stderr", "exit_code", "truncated"),
    *("log", "progress", "error", "pending_undo", "encrypted_payload"),
)
MAX_KEPT_MESSAGE = 500
"""Characters of an error's message that remain if the database refuses the whole error."""
_NO_RESULT = dict.fromkeys(_RESULT_COLUMNS) | {"truncated": False, "log": []}

# Built once, because building a statement costs more than running it.
_INSERT_STEP = insert(STEP)
_INSERT_OUTPUT = insert(STEP_OUTPUT)
_UPDATE_STEP = update(STEP).where(
    STEP.c.task == bindparam("of_task"), STEP.c.number == bindparam("of_number")
)
_UPDATE_RUNNING = update(TASK).where(
    TASK.c.id == bindparam("of_task"),
    TASK.c.state == State.RUNNING,
    TASK.c.worker == bindparam("of_worker"),
)


class Change:
    """One statement of a group that `TaskStore.apply` writes in one transaction."""

    __slots__ = (
        "_of_task",
        "_smaller",
        "owner",
        "read_only",
        "result",
        "statement",
        "task",
        "values",
    )

    def __init__(
        self,
        task: str,
        statement: Any,
        values: dict[str, Any] | list[dict[str, Any]] | None = None,
        *,
        of_task: bool = False,
    ) -> None:
        self.task = task
        self.statement = statement
        self.values = values
        self._of_task = of_task
        self.result: dict[str, Any] | None = None
        """The columns of a task that ends."""
        self.owner = "", ""
        """The user and the cluster of a task that ends, if known."""
        self.read_only = False
        """True if the task that ends cannot have changed the answers of others."""
        self._smaller: Callable[[str], list[Change]] | None = None

    @classmethod
    def step_begun(cls, step: Step) -> Change:
        """Record a step that is about to be sent."""
        return cls(step.task, _INSERT_STEP, step.model_dump())

    @classmethod
    def printed(cls, task: str, rows: Sequence[StepOutput]) -> Change:
        """Record output of running steps."""
        return cls(task, _INSERT_OUTPUT, [row.model_dump() for row in rows])

    @classmethod
    def step_ended(cls, task: str, number: int, **values: Any) -> Change:
        """Record the end of a step."""
        key = {"of_task": task, "of_number": number}
        change = cls(task, _setting(_UPDATE_STEP, *values), key | _bound(values))
        change._smaller = partial(_smaller_step, task, number, values)
        return change

    @classmethod
    def ended(cls, task_id: str, state: State, **values: Any) -> Change:
        """Record the end of a task; does nothing to one that has ended or that another runs."""
        columns = _NO_RESULT | values | {"state": state, "ended_at": now()}
        statement = _setting(_UPDATE_RUNNING, *columns)
        change = cls(task_id, statement, _bound(columns), of_task=True)
        change.result = {"state": state, **values}
        change._smaller = partial(_smaller_ends, task_id, state, values)
        return change

    @classmethod
    def progress(cls, task_id: str, **values: Any) -> Change:
        """Record new values of a running task: its log, its progress."""
        statement = _setting(_UPDATE_RUNNING, *values)
        return cls(task_id, statement, _bound(values), of_task=True)

    def parameters(self, worker: str) -> dict[str, Any] | list[dict[str, Any]] | None:
        """Return the parameters of the statement, for the worker whose change this is.

        A task is changed only by the worker that runs it: not by one that was silent for so long
        that another has resumed the task.
        """
        if self._of_task and isinstance(self.values, dict):
            return self.values | {"of_task": self.task, "of_worker": worker}
        return self.values

    def smaller(self, reason: str) -> list[Change]:
        """Return the changes to try instead if the database refuses this one, largest first.

        They record the reason, and what does not depend on how much a step has printed.
        """
        changes = self._smaller(reason) if self._smaller is not None else []
        for each in changes:
            each.owner, each.read_only = self.owner, self.read_only
        return changes


def _smaller_step(task: str, number: int, values: Mapping[str, Any], reason: str) -> list[Change]:
    """Return the end of a step without its output."""
    kept = {name: values[name] for name in ("seconds", "exit_code") if name in values}
    return [Change.step_ended(task, number, **kept, truncated=True, error=_not_recorded(reason))]


def _smaller_ends(
    task_id: str, state: State, values: Mapping[str, Any], reason: str
) -> list[Change]:
    """Return the end of a task without its output: one that succeeded is failed then."""
    kept = {
        name: values[name] for name in ("seconds", "exit_code", "pending_undo") if name in values
    }
    refusal = RecordRefused(_not_recorded(reason)).as_json()
    error = values.get("error") or {}
    nothing: dict[str, list[str]] = {"undone": [], "needs_repair": []}
    bare = Change.ended(task_id, State.FAILED, error=refusal | nothing)
    if not error:
        return [Change.ended(task_id, State.FAILED, **kept, error=refusal | nothing), bare]
    message = f"{shorten(error['message'], MAX_KEPT_MESSAGE)} ({refusal['message']})"
    own = {"type": error["type"], "message": message, "retryable": error.get("retryable", False)}
    repair = {name: error.get(name, []) for name in nothing}
    return [Change.ended(task_id, state, **kept, error=own | repair), bare]


def _not_recorded(reason: str) -> str:
    return f"the result is not recorded: {reason}"


@cache
def _setting(statement: Update, *names: str) -> Update:
    """Return `statement` with these columns set from `_bound` values; cached for each set."""
    columns = statement.table.c
    return statement.values(
        {name: bindparam(f"new_{name}", type_=columns[name].type) for name in names}
    )


def _bound(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` by the parameter names that `_setting` uses."""
    return {f"new_{name}": value for name, value in values.items()}
