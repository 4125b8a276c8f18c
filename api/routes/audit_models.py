"""The JSON of the audit log, as the OpenAPI document describes it."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict


class AuditRecord(TypedDict):
    """One request in the audit log, or several equal ones."""

    id: str
    at: datetime
    username: str
    cluster: str
    address: str
    method: str
    path: str
    action: str
    options: Any
    outcome: str
    status: int
    error: str | None
    task: str | None
    request: str
    task_state: Annotated[Any, Field(description="the state of its task, or of its batch's tasks")]


class AuditPage(TypedDict):
    """A page of audit entries, newest first."""

    entries: list[AuditRecord]
    next: Annotated[str | None, Field(description="cursor of the next page; null on the last")]
