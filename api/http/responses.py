"""The response to a request that waited for its task."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi.responses import JSONResponse

from api.http.errors import failure, status_of_name
from resop.storage.models import Approval, State, Task
from resop.storage.serializers import result_json, task_json


def task_path(task_id: str) -> str:
    """Return the path of a task in this API."""
    return f"/tasks/{task_id}"


def retry_headers(task_id: str) -> dict[str, str]:
    """Return the headers of a 202: where and when to ask for the task again."""
    return {"Location": task_path(task_id), "Retry-After": "1"}


def shared_headers(task: Task, age: float | None, share_for: float | None) -> dict[str, str]:
    """Return the caching headers of an answer that is shared for `share_for` seconds.

    `age` is in seconds; None for an answer that may not be shared.
    """
    if age is None or share_for is None or task.state != State.SUCCEEDED:
        return {}
    return {"Age": str(int(age)), "Cache-Control": f"private, max-age={int(share_for)}"}


def task_response(
    task: Task,
    applied: str | None = None,
    headers: Mapping[str, str] | None = None,
    approval: Approval | None = None,
) -> JSONResponse:
    """Return a task's result as a response, or 202 if the task has not ended.

    `applied` is the preference of the request that was followed, `approval` what the task waits
    for.
    """
    headers = {**(headers or {}), "Location": task_path(task.id)}
    if applied:
        headers["Preference-Applied"] = applied
    if not State(task.state).ended:
        return JSONResponse(
            task_json(task, [], None, approval), 202, headers | retry_headers(task.id)
        )
    if task.state == State.SUCCEEDED:
        return JSONResponse({"success": True, **result_json(task)}, 200, headers)
    error = task.error or {"type": "ServiceFault"}
    return JSONResponse(
        failure(error, **result_json(task)), status_of_name(str(error["type"])), headers
    )
