"""The Celery worker: `resop worker`, or `python -P -m worker.main`."""

from __future__ import annotations

import gc
import logging
import secrets
import socket
import sys

from celery import Celery, signals
from celery.exceptions import Reject

from resop.actions.catalog import load_catalog
from resop.config.data_folder import prepare_data_folder
from resop.config.hardening import harden_process
from resop.config.logging import log_uncaught_faults, set_up_logging
from resop.config.settings import Settings, load_settings
from resop.errors import ResopError, SetupError
from resop.messaging.publisher import EventPublisher
from resop.messaging.task_queue import (
    TASK_NAME,
    TaskQueue,
    celery_app,
    cluster_queue,
    valid_task_ids,
    worker_queue,
)
from resop.security.encryption import Encryptor
from resop.storage.approvals import ApprovalStore
from resop.storage.database import Database
from resop.storage.tasks import TaskStore
from resop.storage.workers import WorkerStore
from worker.approval_expiry import ApprovalExpiry
from worker.audit import make_recorder
from worker.batch_dispatcher import BatchDispatcher
from worker.celery_internals import (
    AckOnReceipt,
    PersistentConsumer,
    is_stopping,
    read_without_ack,
)
from worker.heartbeats import Heartbeat
from worker.record_writer import RecordWriter
from worker.recovery import Recovery
from worker.retention import RetentionCleaner
from worker.task_pool import TaskPool

log = logging.getLogger(__name__)

SWITCH_SECONDS = 0.0005
"""Python's thread switch interval: Celery's thread continues to work after it has passed on a
task, and with the default of 5 ms the task would wait for that."""
DRAIN_SECONDS = 15
"""How long a stopping worker waits for its tasks before it ends their steps."""


class Worker:
    """The parts of one worker process, started and stopped in order."""

    def __init__(self, name: str, settings: Settings, clusters: list[str], app: Celery) -> None:
        self.name = name
        # First, since an invalid file of an operator is the most likely fault of a start.
        catalog = load_catalog(settings.operator_folders)
        self._database = Database(settings.database_url)
        self._database.create_tables()
        encryptor = Encryptor(settings.secret_key(), settings.previous_secret_key())
        publisher = EventPublisher(settings.redis_url, encryptor.message_keys)
        self._writer = RecordWriter(name, TaskStore(self._database), publisher)
        self._audit = make_recorder(settings, self._database)
        queue = TaskQueue(app)
        self._dispatcher = BatchDispatcher(self._database, queue, publisher, settings.BATCH_AT_ONCE)
        self._pool = TaskPool(
            name,
            settings,
            clusters,
            catalog,
            self._database,
            self._writer,
            queue,
            publisher,
            self._audit,
            self._dispatcher.wake,
        )
        self._webhooks = None
        if settings.notify_hosts:
            from worker.webhooks import WebhookSender  # loads an HTTP client

            self._webhooks = WebhookSender(settings, self._database)
        cleaner = RetentionCleaner(self._database, settings.HISTORY_DAYS)
        approvals = ApprovalStore(self._database, self._audit.chain)
        expiry = ApprovalExpiry(name, approvals, publisher)
        self._heartbeat = Heartbeat(name, WorkerStore(self._database))
        self._recovery = Recovery(
            name,
            self._heartbeat,
            self._database,
            queue,
            publisher,
            chores=[
                self._pool.cancel_marked,
                self._pool.drop_taken,
                self._pool.drop_ended_logins,
                self._dispatcher.wake,
                cleaner.clean,
                expiry.end_expired,
            ],
        )

    def start(self) -> None:
        """Start serving."""
        self._writer.start()
        self._audit.start()
        self._pool.start()
        self._dispatcher.start()
        self._heartbeat.start()
        self._recovery.start()
        if self._webhooks is not None:
            self._webhooks.start()
        # Objects made at the start live as long as the process: the collector can skip them.
        gc.freeze()
        sys.setswitchinterval(SWITCH_SECONDS)
        log.info("worker %s is ready", self.name)

    def accept(self, *task_ids: object) -> None:
        """Accept the tasks of a message; raises Reject for one that this worker cannot run."""
        for task_id in valid_task_ids(task_ids):
            if not self._pool.accept(task_id, is_stopping):
                # The whole message is queued again: its next worker skips the tasks accepted here.
                raise Reject("the worker stops", requeue=True)

    def stop(self) -> None:
        """Hand off resumable tasks, finish or end the others, and write every change."""
        self._dispatcher.stop()
        self._pool.drain(DRAIN_SECONDS)
        self._writer.stop(DRAIN_SECONDS)
        if self._webhooks is not None:
            self._webhooks.stop()
        self._recovery.stop()
        self._heartbeat.stop()
        self._audit.stop()
        self._database.close()


settings = load_settings()
app = celery_app(settings)
app.conf.worker_consumer = PersistentConsumer
name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
clusters = list(settings.clusters())
"""The clusters that this worker serves."""
_worker: Worker | None = None


@app.task(name=TASK_NAME, Request=AckOnReceipt)
def execute(*task_ids: object, **malformed: object) -> None:
    """Run the tasks with these IDs; the only Celery task there is."""
    assert _worker is not None
    if malformed:
        log.warning("skipped %d named arguments of a task message", len(malformed))
    _worker.accept(*task_ids)


@signals.worker_init.connect
def _start(**_: object) -> None:
    global _worker
    read_without_ack(app)
    try:
        _worker = Worker(name, settings, clusters, app)
        _worker.start()
    except ResopError as fault:
        # Celery would log what a receiver of its signals raises and continue without a worker.
        sys.exit(fault.lines("resop worker"))


@signals.worker_shutdown.connect
def _stop(**_: object) -> None:
    if _worker is not None:
        _worker.stop()


@signals.setup_logging.connect
def _log(**_: object) -> None:
    set_up_logging(settings)


def main(chosen: list[str] | None = None) -> None:
    """Serve the queues of the `chosen` clusters, or of all, until stopped."""
    harden_process()
    set_up_logging(settings)
    prepare_data_folder(settings.DATA_DIR)
    log_uncaught_faults()
    clusters[:] = chosen or clusters
    if not clusters:
        raise SetupError("no cluster is configured: set CLUSTER_ADDRESS in config.env")
    queues = ",".join([*map(cluster_queue, clusters), worker_queue(name)])
    # 'solo': Celery only receives; the pool's event loop runs any number of tasks at once.
    arguments = ["worker", "--pool=solo", f"--queues={queues}", f"--loglevel={settings.LOG_LEVEL}"]
    alone = ["--without-mingle", "--without-gossip", "--without-heartbeat"]  # the database knows
    app.worker_main(["--quiet", *arguments, *alone])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SetupError as fault:
        sys.exit(fault.lines("resop worker"))
