"""The answer of a request that waited for its task."""

from __future__ import annotations

from fastapi.responses import JSONResponse

from api.http.errors import failure, status_of_name
from resop.storage.models import State, Task
from resop.storage.serializers import result_json, task_json


def task_address(task_id: str) -> str:
    """Where a task is seen."""
    return f"/tasks/{task_id}"


def retry_headers(task_id: str) -> dict[str, str]:
    """The headers of a 202: where to look, and when."""
    return {"Location": task_address(task_id), "Retry-After": "1"}


def task_response(task: Task, applied: str | None = None) -> JSONResponse:
    """The response of a request that waited for `task`: its result, or 202 while it goes on."""
    headers = {"Location": task_address(task.id)}
    if applied:
        headers["Preference-Applied"] = applied
    if not State(task.state).ended:
        return JSONResponse(task_json(task, []), 202, headers | retry_headers(task.id))
    if task.state == State.SUCCEEDED:
        return JSONResponse({"success": True, **result_json(task)}, 200, headers)
    error = task.error or {"type": "ServiceFault"}
    return JSONResponse(
        failure(error, **result_json(task)), status_of_name(str(error["type"])), headers
    )
