"""Cancel tasks and batches. The functions block."""

from __future__ import annotations

import logging
from typing import Any

from api.state.services import Services
from resop.actions.execute import ActionOutcome
from resop.errors import QueueUnavailable, TaskCancelled
from resop.messaging.messages import BatchReady, CancelRequested, Resync, TaskEnded
from resop.storage.models import NOT_BEGUN, State

log = logging.getLogger(__name__)


def request_task_cancellation(services: Services, task_id: str) -> None:
    """End a task that has not begun; mark a running one, and tell its worker.

    Without Redis the worker still finds the mark in the database.
    """
    tasks, publisher = services.storage.tasks, services.messaging.publisher
    try:
        if tasks.end(task_id, State.CANCELLED, when=NOT_BEGUN, error=_never_ran()):
            publisher.publish(TaskEnded(task_id))
        elif tasks.request_cancel(task_id):
            publisher.publish(CancelRequested(task_id))
    except QueueUnavailable:
        log.warning("the cancellation of task %s was not published: Redis is unavailable", task_id)


def request_batch_cancellation(services: Services, batch_id: str) -> None:
    """End a batch's waiting tasks; mark its running ones, and tell their workers."""
    running = services.storage.batches.cancel(batch_id, _never_ran())
    try:
        requests = map(CancelRequested, running)
        services.messaging.publisher.publish(*requests, Resync(), BatchReady())
    except QueueUnavailable:
        log.warning(
            "the cancellation of batch %s was not published: Redis is unavailable", batch_id
        )


def _never_ran() -> dict[str, Any]:
    """Return the error of a task that was cancelled while it was queued."""
    fault = TaskCancelled("the task was cancelled before it began", ended=True)
    return ActionOutcome(error=fault).error_json() or {}
