"""The task queue: Celery carries task ids, in one queue for each cluster, and nothing else.

A message in a queue has the ids of a few tasks. Their options and secrets are in the database. It
is signed. If it is repeated, a worker looks up tasks that are no longer queued.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Sequence

from celery import Celery
from kombu.exceptions import OperationalError
from redis import RedisError

from resop.config.redis_address import read_redis_address
from resop.config.settings import Settings
from resop.errors import InvalidSettings, QueueUnavailable
from resop.messaging.kombu_internals import queue_length
from resop.messaging.redis_client import KEEPALIVE, sentinel_options
from resop.messaging.refusals import Refusals
from resop.messaging.signed_transport import SENTINEL_TRANSPORT, TRANSPORT, register_transport
from resop.security.encryption import Encryptor
from resop.security.message_signing import MessageSigner

log = logging.getLogger(__name__)

TASK_NAME = "resop.execute"
BROKER_TIMEOUT_SECONDS = 5
TASKS_PER_MESSAGE = 8
"""The most tasks in a message. One worker takes all of them, even if it is full."""
LOWEST_PRIORITY = 9
"""The last of Celery's priorities on Redis; 0, the default, is the first."""

CELERY_VARIABLES = (
    *("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"),
    "CELERY_RESULT_BACKEND",
)
"""Environment variables that Celery would obey: messages would not be signed, or results stored."""

_TASK_ID = re.compile(r"[0-9a-f-]{1,36}")


def cluster_queue(cluster: str) -> str:
    """Return the queue of a cluster; workers may run near the cluster and serve only it."""
    return f"cluster.{cluster}"


def worker_queue(worker: str) -> str:
    """Return the queue of a worker, for the tasks of sessions that the worker holds."""
    return f"worker.{worker}"


def celery_app(settings: Settings) -> Celery:
    """Return the Celery application of the API and the workers.

    Raises InvalidSettings for an environment variable that would change how it uses Redis.
    """
    if present := [name for name in CELERY_VARIABLES if os.environ.get(name)]:
        raise InvalidSettings(f"environment: {present[0]} must not be set; REDIS_URL is used")
    register_transport()
    signer = MessageSigner(
        Encryptor(settings.secret_key(), settings.previous_secret_key()).queue_keys
    )
    address = read_redis_address(settings.redis_url)
    transport = SENTINEL_TRANSPORT if address.sentinels else TRANSPORT
    # Without fixups: the one for Django would make the API import Celery's worker.
    app = Celery("resop", broker=re.sub("^rediss?", transport, settings.broker_url), fixups=[])
    app.conf.update(
        # Options of the address take precedence, as for the other connections to Redis.
        broker_use_ssl={"ssl_cert_reqs": "required"} if address.tls else None,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        # The claim in the database makes a task run once. The queue is transport only: a message
        # is done once a worker has it, and the recovery finds tasks whose message was lost.
        task_acks_late=False,
        # It concerns tasks with late acknowledgement only; without it, Celery warns.
        worker_cancel_long_running_tasks_on_connection_loss=True,
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        # Nobody commands or watches workers through Redis.
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        task_send_sent_event=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # however long Redis is unavailable
        broker_channel_error_retry=True,  # Redis may accept later what it refuses now
        broker_transport_options={
            "socket_connect_timeout": BROKER_TIMEOUT_SECONDS,
            "socket_timeout": BROKER_TIMEOUT_SECONDS * 4,
            "socket_keepalive": True,
            "socket_keepalive_options": KEEPALIVE,
            # kombu notices a server that has vanished after twice this time. On a unix socket none
            # can, and redis-py fails there when a check does.
            "health_check_interval": 0 if settings.embedded else BROKER_TIMEOUT_SECONDS,
            "signer": signer,
            "refusals": Refusals(),
            # A client waits while a task is sent, and kombu would try to connect for six seconds.
            "max_retries": 2,
            "interval_start": 0.1,
            "interval_step": 0.2,
            "sentinels": address.sentinels,
            "sentinel_kwargs": sentinel_options(address),
            "master_name": address.master,
        },
        task_default_queue="resop",
    )
    return app


def valid_task_ids(arguments: Sequence[object]) -> list[str]:
    """Return the arguments of a message that are task ids; log and skip the others."""
    ids = [each for each in arguments if isinstance(each, str) and _TASK_ID.fullmatch(each)]
    if malformed := len(arguments) - len(ids):
        log.warning("skipped %d malformed arguments of a task message", malformed)
    return ids


QueuedTask = tuple[str, str, str]
"""A task's id, its cluster, and the worker that holds its session, or an empty text."""


class TaskQueue:
    """Hands tasks to the workers. Methods block."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def put(self, task_id: str, cluster: str, worker: str = "") -> None:
        """Queue a task for its cluster, or for the `worker` that holds its session.

        Raises QueueUnavailable if no message was sent.
        """
        self._send((task_id,), cluster, worker)

    def put_all(self, tasks: Iterable[QueuedTask], *, behind: bool = False) -> list[str]:
        """Queue many tasks, a few in each message; `behind` all others if so asked.

        Returns the ids of the tasks for which no message was sent: the queue is unavailable.
        """
        by_queue: dict[tuple[str, str], list[str]] = {}
        for task_id, cluster, worker in tasks:
            by_queue.setdefault((cluster, worker), []).append(task_id)
        unsent = [
            (ids[first : first + TASKS_PER_MESSAGE], *place)
            for place, ids in by_queue.items()
            for first in range(0, len(ids), TASKS_PER_MESSAGE)
        ]
        try:
            while unsent:
                self._send(*unsent[0], behind=behind)
                del unsent[0]
        except QueueUnavailable:
            return [task_id for ids, *_ in unsent for task_id in ids]
        return []

    def _send(
        self, task_ids: Sequence[str], cluster: str, worker: str, *, behind: bool = False
    ) -> None:
        queue = worker_queue(worker) if worker else cluster_queue(cluster)
        priority = LOWEST_PRIORITY if behind else None
        try:
            self._app.send_task(TASK_NAME, task_ids, queue=queue, priority=priority)
        except (OperationalError, RedisError, OSError) as fault:
            raise QueueUnavailable from fault

    def length(self, cluster: str, worker: str = "") -> int:
        """Return the number of messages that wait. Raises QueueUnavailable without Redis."""
        queue = worker_queue(worker) if worker else cluster_queue(cluster)
        try:
            return queue_length(self._app, queue)
        except (OperationalError, RedisError, OSError) as fault:
            raise QueueUnavailable from fault
