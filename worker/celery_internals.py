"""Everything the worker uses of Celery that Celery does not document.

A test of this file fails if a later Celery changes any of it.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import kombu
import redis
from celery import Celery, bootsteps
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.request import Request

from resop.messaging.kombu_internals import last_question

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 0.5
"""The first pause between attempts to connect to Redis; each further one is longer by as much."""
MAX_RECONNECT_SECONDS = 2.0
WATCH_SECONDS = 5.0
SILENT_CHECKS = 3
"""Redis is asked for messages every second. After this number of checks in which it was not asked,
the consumer has stopped receiving, and is started again."""

_STOPPING = (bootsteps.CLOSE, bootsteps.TERMINATE)  # type: ignore[attr-defined]


class AckOnReceipt(Request):
    """A message that counts as done once it is received: the database has what the task needs.

    Redis then remembers no messages for a worker, and the worker reports none as done, which would
    cost two of the three round trips of a message.
    """

    def acknowledge(self) -> None:
        """Acknowledge nothing: `read_without_ack` made the queues need none."""
        self.acknowledged = True


class PersistentConsumer(Consumer):
    """Receives messages until the worker stops, whatever Redis answers or kombu raises.

    Celery's own consumer gives up after a hundred attempts to connect, and ends the worker at an
    error that it does not know. Tasks run without it: nothing is cancelled while it reconnects.
    """

    conninfo: kombu.Connection
    task_consumer: kombu.Consumer

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._known_errors: tuple[type[BaseException], ...]
        self._known_errors = (*self.conninfo.connection_errors, *self.conninfo.channel_errors)
        self.connection_errors = (Exception,)
        """All errors after which Celery connects again."""
        self._last_question: float | None = None
        self._silent_checks = 0

    def start(self) -> None:
        """Receive messages; begin again if Celery fails even to close the lost connection."""
        while self.blueprint.state not in _STOPPING:
            try:
                super().start()
            except Exception:
                log.exception("the consumer of messages is started again")
                time.sleep(RECONNECT_SECONDS)
                self.blueprint.restart(self)

    def ensure_connected(self, conn: kombu.Connection) -> kombu.Connection:
        """Return the connection once Redis accepts it, however long that takes."""
        connect: Any = conn.ensure_connection
        pauses = (RECONNECT_SECONDS, RECONNECT_SECONDS, MAX_RECONNECT_SECONDS)
        connect(self._log_attempt, None, *pauses, callback=state.maybe_shutdown)  # without limit
        self.first_connection_attempt = False
        return conn

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Pause: Redis has accepted the connection and refuses to be asked, as while it loads."""
        self._log_attempt(exc, RECONNECT_SECONDS)
        time.sleep(RECONNECT_SECONDS)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Close the connection; log an error that Celery would have ended the worker at."""
        if not isinstance(exc, self._known_errors):
            log.error("a fault of the consumer of messages, which connects again", exc_info=exc)
        super().on_connection_error_after_connected(exc)

    def register_with_event_loop(self, hub: Any) -> None:
        """Watch this connection until it is lost; Celery then removes what was registered."""
        super().register_with_event_loop(hub)
        self._silent_checks = 0
        hub.call_repeatedly(WATCH_SECONDS, self._check_receiving)

    def _check_receiving(self) -> None:
        """Raise redis.ConnectionError if Redis is no longer asked for messages.

        While the worker is full, it receives nothing and does not come here either.
        """
        question = last_question(self.task_consumer)
        self._silent_checks = self._silent_checks + 1 if question == self._last_question else 0
        self._last_question = question
        if self._silent_checks >= SILENT_CHECKS:
            raise redis.ConnectionError("the worker has stopped receiving")

    def _log_attempt(self, fault: Exception, pause: float) -> None:
        log.warning("not connected to Redis, next attempt in %.1f s: %s", pause, fault)


def read_without_ack(app: Celery) -> None:
    """Have the worker read its queues without acknowledgement; call before it connects."""
    for queue in app.amqp.queues.consume_from.values():
        queue.no_ack = True


def is_stopping() -> bool:
    """Return True once Celery got TERM and only finishes the current message."""
    return state.should_stop is not None
