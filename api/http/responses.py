"""The answer of a request that waited for its task."""

from __future__ import annotations

from fastapi.responses import JSONResponse

from api.http.errors import failure, status_of_name
from resop.storage.models import State, Task
from resop.storage.serializers import result, view


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
