"""The Celery worker: `resop worker`, or `python -P -m worker.main`."""

from __future__ import annotations

import gc
import logging
import secrets
import socket
import sys

from celery import Celery, signals
from celery.exceptions import Reject
from celery.worker import state as celery_state
from celery.worker.request import Request

from resop.actions.catalog import load_catalog
from resop.config.hardening import disable_core_dumps
from resop.config.logging import set_up_logging
from resop.config.settings import Settings, load_settings
from resop.errors import ResopError, SetupError
from resop.messaging.publisher import EventPublisher
from resop.messaging.task_queue import TASK_NAME, TaskQueue, celery_app, cluster_queue, worker_queue
from resop.storage.database import Database
from resop.storage.tasks import TaskStore
from worker.batch_dispatcher import BatchDispatcher
from worker.engine import TaskRunner
from worker.record_writer import RecordWriter
from worker.recovery import Recovery
from worker.retention import RetentionCleaner

log = logging.getLogger(__name__)

SWITCH_SECONDS = 0.0005
"""Celery's thread has work of its own after it has begun a task; Python's 5 ms would make the task
wait for that."""
DRAIN_SECONDS = 15
"""How long a stopping worker waits for its tasks before it ends their steps."""


class Worker:
    """What one worker process is made of, started and stopped in order."""

    def __init__(self, name: str, settings: Settings, clusters: list[str], app: Celery) -> None:
        self.name = name
        catalog = load_catalog(settings.operator_folders)  # a broken file is told first of all
        self._database = Database(settings.database_url)
        self._database.create_tables()
        herald = EventPublisher(settings.redis_url)
        self._recorder = RecordWriter(TaskStore(self._database), herald)
        queue = TaskQueue(app)
        self._dealer = BatchDispatcher(self._database, queue, herald, settings.BATCH_AT_ONCE)
        deal = self._dealer.wake
        self._engine = TaskRunner(
            self.name, settings, clusters, catalog, self._database, self._recorder, queue, deal
        )
        self._notifier = None
        if settings.notify_hosts:
            from worker.webhooks import WebhookSender  # brings an HTTP client along

            self._notifier = WebhookSender(settings, self._database)
        cleaner = RetentionCleaner(self._database, settings.HISTORY_DAYS)
        self._recovery = Recovery(
            self.name,
            self._database,
            queue,
            herald,
            chores=[
                self._engine.cancel_marked,
                self._engine.drop_ended_logins,
                self._dealer.wake,
                cleaner.clean,
            ],
        )

    def start(self) -> None:
        """Begin to serve."""
        self._recorder.start()
        self._engine.start()
        self._dealer.start()
        self._recovery.start()
        if self._notifier is not None:
            self._notifier.start()
        # What start-up has made stays for good: the collector need not look at it again.
        gc.freeze()
        sys.setswitchinterval(SWITCH_SECONDS)
        log.info("worker %s is ready", self.name)

    def execute(self, *task_ids: str) -> None:
        """Take the tasks of a message."""
        for task_id in task_ids:
            if not self._engine.take(task_id, lambda: celery_state.should_stop is not None):
                # With what was taken: it is claimed, and left alone.
                raise Reject("the worker stops", requeue=True)

    def stop(self) -> None:
        """Leave to others what survives, finish or end what else runs, write everything down."""
        self._dealer.stop()
        self._engine.drain(DRAIN_SECONDS)
        self._recorder.stop(DRAIN_SECONDS)
        if self._notifier is not None:
            self._notifier.stop()
        self._recovery.stop()
        self._database.close()


settings = load_settings()
app = celery_app(settings)
name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
clusters = list(settings.clusters())
"""Those that this worker serves."""
_worker: Worker | None = None


class AckOnReceipt(Request):
    """A message that is done with as soon as it is here: the record keeps what the task needs.

    So Redis neither notes what a worker has nor is told when it is done with it, which would
    cost two of the three questions that a message takes.
    """

    def acknowledge(self) -> None:
        """Tell nobody: the queues are read without acknowledgement, see `_start`."""
        self.acknowledged = True


@app.task(name=TASK_NAME, Request=AckOnReceipt)
def execute(*task_ids: str) -> None:
    """Run tasks of the record; the one Celery task there is."""
    assert _worker is not None
    _worker.execute(*task_ids)


@signals.worker_init.connect
def _start(**_: object) -> None:
    global _worker
    for queue in app.amqp.queues.consume_from.values():
        queue.no_ack = True
    try:
        _worker = Worker(name, settings, clusters, app)
        _worker.start()
    except ResopError as fault:
        # Celery logs what a receiver of its signals raises, and goes on: without a worker, here.
        sys.exit(f"resop worker: {fault.message}")


@signals.worker_shutdown.connect
def _stop(**_: object) -> None:
    if _worker is not None:
        _worker.stop()


@signals.setup_logging.connect
def _log(**_: object) -> None:
    set_up_logging(settings)


def main(chosen: list[str] | None = None) -> None:
    """Serve the queues of the `chosen` clusters (all when not given) until stopped."""
    disable_core_dumps()
    set_up_logging(settings)
    clusters[:] = chosen or clusters
    if not clusters:
        raise SetupError("no cluster is configured: set CLUSTER_ADDRESS in config.env")
    queues = ",".join([*map(cluster_queue, clusters), worker_queue(name)])
    # 'solo': Celery only receives; the engine's event loop runs any number of tasks at once.
    arguments = ["worker", "--pool=solo", f"--queues={queues}", f"--loglevel={settings.LOG_LEVEL}"]
    app.worker_main(["--quiet", *arguments, "--without-mingle", "--without-gossip"])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SetupError as fault:
        sys.exit(f"resop worker: {fault.message}")
