"""A batch of the caller: the states of its tasks, its rate, and when it is expected to end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starlette.concurrency import run_in_threadpool

from api.state.services import Services
from api.tasks.queries import is_visible
from resop.errors import UnknownBatch
from resop.security.tokens import Token
from resop.storage.models import Batch, State, now
from resop.storage.serializers import approval_json, batch_summary, delivery_json

RATE_WINDOW = timedelta(seconds=60)
"""The rate of a running batch is measured over this time."""


async def own_batch(services: Services, token: Token, batch_id: str) -> Batch:
    """Return a batch of the caller. Raises UnknownBatch, also for another user's batch."""
    batch = await run_in_threadpool(services.storage.batches.get, batch_id)
    owner = token.identity
    if batch is None or (batch.username, batch.cluster) != owner or not is_visible(token, batch):
        raise UnknownBatch(f"there is no batch {batch_id!r}")
    return batch


def batch_progress(services: Services, batch_id: str) -> dict[str, Any]:
    """Return a batch as it is now. Blocks. Raises UnknownBatch if it no longer exists."""
    batch = services.storage.batches.get(batch_id)
    if batch is None or batch.ready_at is None:
        raise UnknownBatch(f"there is no batch {batch_id!r}")
    summary = batch_summary(batch, services.storage.batches.counts([batch_id]).get(batch_id, {}))
    until = batch.ended_at or now()
    since = batch.ready_at if batch.ended_at else max(batch.ready_at, until - RATE_WINDOW)
    ran = services.storage.batches.ran_since(batch_id, since)
    rate = ran / max((until - since).total_seconds(), 1e-3)
    open_tasks = sum(count for state, count in summary["counts"].items() if not state.ended)
    expected_end = until + timedelta(seconds=open_tasks / rate) if open_tasks and rate else None
    delivery = services.storage.webhooks.get(batch.id) if batch.notify else None
    return {
        **summary,
        "options": batch.options,
        "sweep": batch.sweep,
        "mode": batch.mode,
        "rate": round(rate, 3),
        "expected_end": expected_end,
        "notification": delivery_json(delivery),
        "approval": approval_json(
            services.storage.approvals.of_batch(batch.id),
            summary["state"] == State.PENDING_APPROVAL,
        ),
    }
