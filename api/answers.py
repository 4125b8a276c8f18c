"""The JSON of a task: as the answer of a request that waited, and as it is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from fastapi.responses import JSONResponse

from api.errors import failure, status_of_name
from resop.command import Command
from resop.records import State, Step, Task


def address(task_id: str) -> str:
    """Where a task is seen."""
    return f"/tasks/{task_id}"


def ask_again(task_id: str) -> dict[str, str]:
    """The headers of a 202: where to look, and when."""
    return {"Location": address(task_id), "Retry-After": "1"}


def answer(task: Task, applied: str | None = None) -> JSONResponse:
    """The response of a request that waited for `task`: its result, or 202 while it goes on."""
    headers = {"Location": address(task.id)}
    if applied:
        headers["Preference-Applied"] = applied
    if not State(task.state).ended:
        return JSONResponse(view(task, []), 202, headers | ask_again(task.id))
    if task.state == State.SUCCEEDED:
        return JSONResponse({"success": True, **result(task)}, 200, headers)
    error = task.error or {"type": "ServiceFault"}
    return JSONResponse(failure(error, **result(task)), status_of_name(str(error["type"])), headers)


def result(task: Task) -> dict[str, Any]:
    """What an action answered, in the keys of its kind."""
    if task.kind == Command.kind:
        return {
            "task": task.id,
            "command": task.command,
            "output": task.output,
            "stderr": task.stderr,
            "exit_code": task.exit_code,
            "seconds": _seconds(task.seconds),
            **({"truncated": True} if task.truncated else {}),
        }
    return {
        "task": task.id,
        "operation": f"{task.operator}:{task.action}",
        "output": task.output,
        "log": task.log,
        "seconds": _seconds(task.seconds),
    }


def view(task: Task, steps: Sequence[Step]) -> dict[str, Any]:
    """Everything about a task, whatever its state."""
    return {
        **summary(task.model_dump()),
        **result(task),
        "progress": task.progress,
        "cancel_asked_at": shown_time(task.cancel_asked_at),
        "error": task.error,
        "steps": [step_view(step) for step in steps],
    }


def summary(task: Mapping[str, Any]) -> dict[str, Any]:
    """A task in a list: what it is and how it stands, without its output."""
    state = State(task["state"])
    return {
        "task": task["id"],
        task["kind"]: (task["command"] if task["kind"] == Command.kind else _title(task)),
        "action": _title(task),
        "state": state,
        "success": state == State.SUCCEEDED if state.ended else None,
        "cluster": task["cluster"],
        "options": task["options"],
        "tags": task["tags"],
        "note": task["note"],
        **({name: task[name] for name in ("batch", "number", "item")} if task["batch"] else {}),
        "created_at": shown_time(task["created_at"]),
        "started_at": shown_time(task["started_at"]),
        "ended_at": shown_time(task["ended_at"]),
        "seconds": _seconds(task["seconds"]),
        "error": task["error"],
    }


def _title(task: Mapping[str, Any]) -> str:
    return f"{task['operator']}:{task['action']}"


def step_view(step: Step) -> dict[str, Any]:
    """A step of an operation."""
    return {
        "number": step.number,
        "command": step.command,
        "undo": step.undo,
        "started_at": shown_time(step.started_at),
        "seconds": _seconds(step.seconds),
        "exit_code": step.exit_code,
        "stdout": step.stdout,
        "stderr": step.stderr,
        "truncated": step.truncated,
        "error": step.error,
    }


def shown_time(moment: datetime | None) -> str | None:
    """ISO 8601, UTC."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def _seconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
