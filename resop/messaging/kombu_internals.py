"""Reads of kombu's queues and channels what kombu does not document.

A test of this file fails if a later kombu changes any of it.
"""

from __future__ import annotations

from typing import Any

from celery import Celery


def queue_length(app: Celery, queue: str) -> int:
    """Return the number of messages in a queue on Redis, over all priorities.

    kombu's documented way, a passive declaration, fails for an empty queue: Redis has no empty
    lists. Raises kombu's OperationalError, or OSError.
    """
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        return int(channel._size(queue))


def last_question(consumer: Any) -> float | None:
    """Return when a consumer has last asked Redis for messages (`time.monotonic`)."""
    moment: float | None = consumer.channel._brpop_sent_at
    return moment
