"""A Celery worker of the service that notes the ids of tasks which it gets."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from celery import signals
from celery.contrib.testing.worker import start_worker

from resop.config.settings import Settings
from resop.errors import QueueUnavailable
from resop.messaging.task_queue import TASK_NAME, TaskQueue, celery_app
from worker.celery_internals import AckOnReceipt, PersistentConsumer, read_without_ack

QUEUE = "cluster.hpc"


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Receiver:
    """A worker that notes the ids it gets."""

    def __init__(self, settings: Settings) -> None:
        self.app = app = celery_app(settings)
        app.conf.worker_consumer = PersistentConsumer
        self.queue = TaskQueue(celery_app(settings))  # of another process
        self.ids: list[object] = []
        self.worker: Any = None

        @app.task(name=TASK_NAME, shared=False, Request=AckOnReceipt)
        def execute(*ids: object, **_: object) -> None:
            self.ids.extend(ids)

    @property
    def refused(self) -> int:
        """The number of messages that the worker refused."""
        return int(self.app.conf.broker_transport_options["refusals"].counts.total())

    @property
    def connection(self) -> Any:
        """The worker's connection to Redis; None while it has none."""
        return self.worker.consumer.connection

    def works(self) -> bool:
        """Send a task and wait until it is received."""
        name = f"check-{time.monotonic_ns()}"
        self.queue.put(name, "hpc")
        until(lambda: name in self.ids)
        return True

    def works_again(self) -> bool:
        """Do the same as soon as tasks can be sent; send again one that Redis has lost."""

        def is_received() -> bool:
            name = f"check-{time.monotonic_ns()}"
            with contextlib.suppress(QueueUnavailable, AssertionError):
                self.queue.put(name, "hpc")
                until(lambda: name in self.ids, 5)
            return name in self.ids

        until(is_received)
        return True


@contextlib.contextmanager
def receiving(settings: Settings) -> Iterator[Receiver]:
    """Run a receiver in a thread."""
    receiver = Receiver(settings)

    def on_init(**_: object) -> None:
        read_without_ack(receiver.app)

    signals.worker_init.connect(on_init)
    try:
        with start_worker(
            receiver.app, perform_ping_check=False, pool="solo", queues=[QUEUE], task_events=False
        ) as receiver.worker:
            yield receiver
    finally:
        signals.worker_init.disconnect(on_init)
        receiver.app.close()
