"""The JSON of a batch: the states of its tasks, its rate, and when it is expected to end."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from api.state.services import Services
from api.tasks.batch_progress import batch_progress
from resop.storage.models import State


class BatchSummary(BaseModel):
    """A batch and the states of its tasks."""

    batch: str
    action: str
    state: Literal["pending_approval", "queued", "running", "ended"]
    success: Annotated[
        bool | None, Field(description="true if all tasks succeeded; null until all have ended")
    ]
    cluster: str
    size: int
    counts: Annotated[dict[State, int], Field(description="number of tasks by state")]
    parameters: list[str]
    at_once: int | None
    tags: list[str]
    retry_of: str | None
    notify: str | None
    created_at: datetime
    ended_at: datetime | None
    cancel_asked_at: datetime | None


class BatchProgress(BatchSummary):
    """A batch with its options, its rate and its expected end."""

    options: Annotated[
        dict[str, Any], Field(description="the options with their templates, secrets masked")
    ]
    sweep: dict[str, Any] | None
    mode: str | None
    rate: Annotated[
        float,
        Field(
            description="tasks per second over the last minute; of an ended batch, over its whole "
            "time"
        ),
    ]
    expected_end: Annotated[
        datetime | None, Field(description="estimated from the rate; null if it is unknown")
    ]
    notification: Annotated[
        dict[str, Any] | None, Field(description="delivery state of the notification")
    ]
    approval: Annotated[
        dict[str, Any] | None,
        Field(description="the request for approval and its decision; null if none is needed"),
    ]


def batch_headers(batch_id: str) -> dict[str, str]:
    """Return the headers of a 202: where and when to ask for the batch again."""
    return {"Location": f"/batches/{batch_id}", "Retry-After": "1"}


async def progress(services: Services, batch_id: str) -> BatchProgress:
    """Return a batch as it is now. Raises UnknownBatch if it no longer exists."""
    return BatchProgress(**await run_in_threadpool(batch_progress, services, batch_id))
