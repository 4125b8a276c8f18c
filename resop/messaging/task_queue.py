"""The queue: Celery carries task ids, one queue for each cluster, and nothing else.

No option, secret or result ever stands in Redis: a message is the ids of a few tasks, the rest is
in the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from resop.config.settings import Settings
from resop.errors import QueueUnavailable

TASK_NAME = "resop.execute"
SOCKET_SECONDS = 5
TASKS_PER_MESSAGE = 8
"""Tasks of one message: one worker takes them all, so few of them, should it be full."""
LOWEST_PRIORITY = 9
"""The last of Celery's priorities on Redis; 0, where it is not given, is the first."""


def cluster_queue(cluster: str) -> str:
    """The name of a cluster's own queue, so that workers can stand next to the cluster."""
    return f"cluster.{cluster}"


def worker_queue(worker: str) -> str:
    """The name of a worker's own queue, for those whose session it keeps."""
    return f"worker.{worker}"


def celery_app(settings: Settings) -> Celery:
    """The Celery application of both sides."""
    # Without what Celery does for Django, which would have the API import Celery's worker.
    app = Celery("resop", broker=settings.broker_url, fixups=[])
    app.conf.update(
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        # A claim in the record makes a task run once; the queue is transport, so a message is
        # done with as soon as a worker has it, and the recovery finds what was lost on the way.
        task_acks_late=False,
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "socket_connect_timeout": SOCKET_SECONDS,
            "socket_timeout": SOCKET_SECONDS * 4,
        },
        task_default_queue="resop",
    )
    return app


QueuedTask = tuple[str, str, str]
"""A task's id, its cluster, and the worker that keeps its session, if there is one."""


class TaskQueue:
    """Where tasks are handed to the workers."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def put(self, task_id: str, cluster: str, worker: str = "") -> None:
        """Hand a task to the workers of its cluster, or to the `worker` that keeps its session.

        QueueUnavailable when that failed.
        """
        self._send((task_id,), cluster, worker)

    def put_all(self, tasks: Iterable[QueuedTask], *, behind: bool = False) -> list[str]:
        """Hand over many, with one message for a few; those that are put `behind` go last.

        Returns the ids of those that no message was sent for: the queue was away.
        """
        places: dict[tuple[str, str], list[str]] = {}
        for task_id, cluster, worker in tasks:
            places.setdefault((cluster, worker), []).append(task_id)
        left = [
            (ids[first : first + TASKS_PER_MESSAGE], *place)
            for place, ids in places.items()
            for first in range(0, len(ids), TASKS_PER_MESSAGE)
        ]
        try:
            while left:
                self._send(*left[0], behind=behind)
                del left[0]
        except QueueUnavailable:
            return [task_id for ids, *_ in left for task_id in ids]
        return []

    def _send(
        self, task_ids: Sequence[str], cluster: str, worker: str, *, behind: bool = False
    ) -> None:
        queue = worker_queue(worker) if worker else cluster_queue(cluster)
        priority = LOWEST_PRIORITY if behind else None
        try:
            self._app.send_task(TASK_NAME, task_ids, queue=queue, priority=priority)
        except (OperationalError, OSError) as fault:
            raise QueueUnavailable from fault

    def length(self, cluster: str, worker: str = "") -> int:
        """How many messages wait for a worker; QueueUnavailable when nobody answers."""
        try:
            with self._app.connection_for_read() as connection:
                channel: Any = connection.default_channel
                # Redis has no queue that is empty; kombu's own way of asking calls that an error.
                # A queue is a list for each priority.
                return int(
                    channel._size(worker_queue(worker) if worker else cluster_queue(cluster))
                )
        except (OperationalError, OSError) as fault:
            raise QueueUnavailable from fault
