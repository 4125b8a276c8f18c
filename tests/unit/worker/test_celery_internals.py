"""Celery still works as `worker/celery_internals.py` expects, shown with a real Celery worker.

The broker is kombu's in-memory one, whose channels remember unacknowledged messages as those of
Redis do.
"""

import os
import signal
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, signals
from celery.apps import worker as celery_worker
from celery.contrib.testing.worker import start_worker
from celery.worker import state
from celery.worker.request import Request

from worker.celery_internals import AckOnReceipt, is_stopping, read_without_ack


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("test", broker="memory://", set_as_current=False, fixups=[])
    app.conf.update(
        worker_hijack_root_logger=False,
        task_ignore_result=True,
        broker_transport_options={"polling_interval": 0.01},
    )
    yield app
    app.close()


def unacknowledged(app: Celery, request: type[Request]) -> int:
    """Return how many messages a worker holds unacknowledged while its task runs."""
    counts: list[int] = []
    done = threading.Event()
    workers: list[Any] = []

    @app.task(name="count", shared=False, Request=request)
    def count() -> None:
        channel = workers[0].consumer.task_consumer.channel
        counts.append(len(channel.qos._delivered) - len(channel.qos._dirty))
        state.should_terminate = 0  # type: ignore[assignment]  # saves the wait for the next message
        done.set()

    with start_worker(app, perform_ping_check=False, pool="solo", shutdown_timeout=5) as worker:
        workers.append(worker)
        count.delay()
        assert done.wait(5)
    return counts[0]


@pytest.mark.slow
def test_message_that_needs_no_acknowledgement_is_done_once_received(app: Celery) -> None:
    def on_init(**_: object) -> None:
        read_without_ack(app)

    signals.worker_init.connect(on_init)
    try:
        assert unacknowledged(app, AckOnReceipt) == 0
    finally:
        signals.worker_init.disconnect(on_init)


@pytest.mark.slow
def test_message_is_unacknowledged_otherwise(app: Celery) -> None:
    app.conf.task_acks_late = True
    assert unacknowledged(app, Request) == 1


def test_worker_that_is_told_to_stop_is_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "should_stop", None)
    assert not is_stopping()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        celery_worker.install_worker_term_handler(  # type: ignore[attr-defined]
            SimpleNamespace(hostname="test")
        )
        os.kill(os.getpid(), signal.SIGTERM)
        assert is_stopping()
    finally:
        signal.signal(signal.SIGTERM, handler)
