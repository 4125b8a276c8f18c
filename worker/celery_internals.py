"""Everything the worker uses of Celery that Celery does not document.

A test of this file fails if a later Celery changes any of it.
"""

from __future__ import annotations

from celery import Celery
from celery.worker import state
from celery.worker.request import Request


class AckOnReceipt(Request):
    """A message that counts as done once it is received: the database has what the task needs.

    Redis then remembers no messages for a worker, and the worker reports none as done, which would
    cost two of the three round trips of a message.
    """

    def acknowledge(self) -> None:
        """Acknowledge nothing: `read_without_ack` made the queues need none."""
        self.acknowledged = True


def read_without_ack(app: Celery) -> None:
    """Have the worker read its queues without acknowledgement; call before it connects."""
    for queue in app.amqp.queues.consume_from.values():
        queue.no_ack = True


def is_stopping() -> bool:
    """Return True once Celery got TERM and only finishes the current message."""
    return state.should_stop is not None
