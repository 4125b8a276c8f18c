"""Turn tasks, steps and batches into the JSON of responses and webhooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, overload

from resop.storage.models import (
    DRY_RUN,
    Approval,
    ApprovalState,
    Batch,
    State,
    Step,
    Task,
    WebhookDelivery,
)
from resop.types import ActionKind


def result_json(task: Task) -> dict[str, Any]:
    """Return the result of a task; the keys depend on the kind of its action."""
    if task.kind == ActionKind.COMMAND:
        return {
            "task": task.id,
            "command": task.command,
            "output": task.output,
            "stderr": task.stderr,
            "exit_code": task.exit_code,
            "seconds": _seconds(task.seconds),
            **({"truncated": True} if task.truncated else {}),
        }
    if task.kind == DRY_RUN:
        return _dry_run_json(task)
    return {
        "task": task.id,
        "operation": f"{task.operator}:{task.action}",
        "output": task.output,
        "log": task.log,
        "seconds": _seconds(task.seconds),
    }


def _dry_run_json(task: Task) -> dict[str, Any]:
    """Return the result of a dry run; `output` is what the operation would return."""
    title = f"{task.operator}:{task.action}"
    result = {"plan": [], "undo": [], "output": None, **(task.output or {})}
    return {
        "dry_run": True,
        "task": task.id,
        "operation": title,
        "action": title,
        **result,
        "log": task.log,
        "options": task.options,
        "time_limit": task.time_limit,
        "seconds": _seconds(task.seconds),
    }


def task_json(
    task: Task,
    steps: Sequence[Step],
    notification: WebhookDelivery | None = None,
    approval: Approval | None = None,
) -> dict[str, Any]:
    """Return everything about a task, whatever its state."""
    return {
        **task_summary(task.model_dump()),
        **result_json(task),
        "progress": task.progress,
        "cancel_asked_at": iso_time(task.cancel_asked_at),
        "error": task.error,
        "approval": approval_json(approval, State(task.state) == State.PENDING_APPROVAL),
        "notification": delivery_json(notification),
        "steps": [step_json(step) for step in steps],
    }


def task_summary(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task as in a list, without its output; `task` is a row by column names."""
    state = State(task["state"])
    return {
        "task": task["id"],
        **_action_of(task),
        "action": _title(task),
        "state": state,
        "success": state == State.SUCCEEDED if state.ended else None,
        "cluster": task["cluster"],
        "options": task["options"],
        "tags": task["tags"],
        "note": task["note"],
        **_batch_member(task),
        "notify": task["notify"],
        "created_at": iso_time(task["created_at"]),
        "started_at": iso_time(task["started_at"]),
        "ended_at": iso_time(task["ended_at"]),
        "seconds": _seconds(task["seconds"]),
        "error": task["error"],
    }


def _action_of(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the command line of a command's task, else the operation."""
    match task["kind"]:
        case ActionKind.COMMAND:
            return {"command": task["command"]}
        case kind if kind == DRY_RUN:
            return {"operation": _title(task), "dry_run": True}
    return {"operation": _title(task)}


def audited_summary(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return another user's task as an auditor may see it.

    Without output, and so without the details of an error, which may quote it; without the note.
    """
    error = task["error"]
    summary = task_summary(task) | {
        "username": task["username"],
        "request": task["request"],
        "error": error and {"type": error.get("type")},
    }
    del summary["note"]
    return summary


def _batch_member(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task's batch, its number there, and its parameters, for a task of a batch."""
    if not task["batch"]:
        return {}
    return {"batch": task["batch"], "number": task["number"], "item": task["parameters"]}


def _title(task: Mapping[str, Any]) -> str:
    return f"{task['operator']}:{task['action']}"


def batch_summary(batch: Batch, counts: Mapping[State, int]) -> dict[str, Any]:
    """Return a batch with the number of its tasks in each state."""
    queued, running = counts.get(State.QUEUED, 0), counts.get(State.RUNNING, 0)
    if counts.get(State.PENDING_APPROVAL):
        state, success = str(State.PENDING_APPROVAL), None
    elif not queued + running:
        state, success = "ended", counts.get(State.SUCCEEDED) == batch.size
    else:
        state, success = "queued" if queued == batch.size else "running", None
    return {
        "batch": batch.id,
        "action": f"{batch.operator}:{batch.action}",
        "state": state,
        "success": success,
        "cluster": batch.cluster,
        "size": batch.size,
        "counts": {each: counts.get(each, 0) for each in State},
        "parameters": batch.parameters,
        "at_once": batch.at_once,
        "tags": batch.tags,
        "retry_of": batch.retry_of,
        "notify": batch.notify,
        "created_at": iso_time(batch.created_at),
        "ended_at": iso_time(batch.ended_at),
        "cancel_asked_at": iso_time(batch.cancel_asked_at),
    }


def step_json(step: Step) -> dict[str, Any]:
    """Return a step of an operation."""
    return {
        "number": step.number,
        "command": step.command,
        "undo": step.undo,
        "started_at": iso_time(step.started_at),
        "seconds": _seconds(step.seconds),
        "exit_code": step.exit_code,
        "stdout": step.stdout,
        "stderr": step.stderr,
        "truncated": step.truncated,
        "error": step.error,
    }


def delivery_json(notification: WebhookDelivery | None) -> dict[str, Any] | None:
    """Return the state of a webhook; with neither time, all attempts have failed."""
    if notification is None:
        return None
    return {
        "attempts": notification.attempts,
        "next_at": iso_time(notification.next_at),
        "delivered_at": iso_time(notification.delivered_at),
        "last_error": notification.last_error,
    }


def approval_json(approval: Approval | None, waits: bool) -> dict[str, Any] | None:
    """Return a request for approval and its decision; `waits` if a task still waits for it."""
    if approval is None:
        return None
    withdrawn = approval.state == ApprovalState.PENDING and not waits
    return {
        "approval": approval.id,
        "state": ApprovalState.WITHDRAWN if withdrawn else ApprovalState(approval.state),
        "task": approval.task,
        "batch": approval.batch,
        "action": f"{approval.operator}:{approval.action}",
        "requested_by": f"{approval.username}@{approval.cluster}",
        "rule": approval.rule,
        "digest": approval.digest,
        "created_at": iso_time(approval.created_at),
        "expires_at": iso_time(approval.expires_at),
        "decided_by": f"{approval.decided_by}@{approval.decided_on}"
        if approval.decided_by
        else None,
        "decided_at": iso_time(approval.decided_at),
        "reason": approval.reason or None,
    }


@overload
def iso_time(moment: datetime) -> str: ...
@overload
def iso_time(moment: datetime | None) -> str | None: ...
def iso_time(moment: datetime | None) -> str | None:
    """Return a time in ISO 8601, UTC."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def _seconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
