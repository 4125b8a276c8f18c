"""The JSON of a batch: how its tasks stand, its pace, and when it may end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api.state.services import Services
from resop.errors import UnknownBatch
from resop.security.tokens import Token
from resop.storage.models import Batch, State, now
from resop.storage.serializers import batch_summary, delivery_json
from resop.storage.webhooks import WebhookStore

RECENT = timedelta(seconds=60)
"""What the rate is taken over."""


class BatchShown(BaseModel):
    """A batch and how its tasks stand."""

    batch: str
    action: str
    state: Literal["queued", "running", "ended"]
    success: bool | None
    """Whether all have succeeded; null before all have ended."""
    cluster: str
    size: int
    counts: dict[State, int]
    """Its tasks by state."""
    parameters: list[str]
    at_once: int | None
    tags: list[str]
    retry_of: str | None
    notify: str | None
    created_at: datetime
    ended_at: datetime | None
    cancel_asked_at: datetime | None


class BatchProgress(BatchShown):
    """The same with what was asked for, and its pace."""

    options: dict[str, Any]
    """With their templates, secrets masked."""
    sweep: dict[str, Any] | None
    mode: str | None
    rate: float
    """Tasks a second: over the last minute; of an ended batch over all of its time."""
    expected_end: datetime | None
    """At this rate; null where nothing can be said."""
    notification: dict[str, Any] | None
    """How the notification of its end stands."""


async def own_batch(services: Services, token: Token, batch_id: str) -> Batch:
    """A batch of the caller; UnknownBatch for anybody else's."""
    batch = await run_in_threadpool(services.batches.get, batch_id)
    if batch is None or (batch.username, batch.cluster) != (token.username, token.cluster):
        raise UnknownBatch(f"there is no batch {batch_id!r}")
    return batch


def look_again(batch_id: str) -> dict[str, str]:
    """The headers of a 202: where to look, and when."""
    return {"Location": f"/batches/{batch_id}", "Retry-After": "1"}


async def progress(services: Services, batch_id: str) -> BatchProgress:
    """A batch as it stands now; UnknownBatch when it is there no more."""
    return await run_in_threadpool(_read_progress, services, batch_id)


def _read_progress(services: Services, batch_id: str) -> BatchProgress:
    batch = services.batches.get(batch_id)
    if batch is None or batch.ready_at is None:
        raise UnknownBatch(f"there is no batch {batch_id!r}")
    stands = batch_summary(batch, services.batches.counts([batch_id]).get(batch_id, {}))
    until = batch.ended_at or now()
    since = batch.ready_at if batch.ended_at else max(batch.ready_at, until - RECENT)
    ran = services.batches.ran_since(batch_id, since)
    rate = ran / max((until - since).total_seconds(), 1e-3)
    left = sum(count for state, count in stands["counts"].items() if not state.ended)
    end = until + timedelta(seconds=left / rate) if left and rate else None
    told = WebhookStore(services.database).get(batch.id) if batch.notify is not None else None
    return BatchProgress(
        **stands,
        options=batch.options,
        sweep=batch.sweep,
        mode=batch.mode,
        rate=round(rate, 3),
        expected_end=end,
        notification=delivery_json(told),
    )
