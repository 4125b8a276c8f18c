"""Submits new tasks: writes tasks that arrive together in one transaction, then queues them.

Requests that arrive at the same time share the cost of a transaction and of a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from resop.errors import QueueUnavailable, RecordRefused, ResopError
from resop.messaging.task_queue import TaskQueue
from resop.storage.group_committer import GroupCommitter
from resop.storage.idempotency_keys import IdempotencyKeyStore
from resop.storage.models import IdempotencyKey, State
from resop.storage.tasks import NewTask, TaskStore

MAX_TASKS = 50
"""Tasks written in one transaction."""


@dataclass(slots=True, eq=False)
class _Pending:
    """A task to submit, and the future its caller waits for."""

    new: NewTask
    worker: str
    durable: bool
    done: asyncio.Future[IdempotencyKey | None]
    outcome: IdempotencyKey | Exception | None = None
    """The key of an earlier task, the reason for a failure, or None for a submitted task."""

    def resolve(self) -> None:
        """Resolve the future on its own loop, unless the caller has gone."""
        if self.done.done():
            return
        if isinstance(self.outcome, Exception):
            self.done.set_exception(self.outcome)
        else:
            self.done.set_result(self.outcome)


class TaskSubmitter:
    """One thread that submits tasks for the whole API process."""

    def __init__(
        self, store: TaskStore, keys: IdempotencyKeyStore, tasks: TaskQueue, max_queued: int
    ) -> None:
        """Set up; `max_queued` limits the queued tasks of one user on one cluster."""
        self._store, self._keys = store, keys
        self._tasks = tasks
        self._max_queued = max_queued
        self._committer = GroupCommitter[_Pending](
            "task-submitter",
            self._write,
            max_items=MAX_TASKS,
            reject=self._reject,
            finish=self._finish,
        )

    def start(self) -> None:
        """Start submitting."""
        self._committer.start()

    async def stop(self) -> None:
        """Submit the tasks that have arrived, then stop."""
        await asyncio.to_thread(self._committer.stop)

    async def add(
        self, new: NewTask, worker: str = "", *, durable: bool = True
    ) -> IdempotencyKey | None:
        """Write a task and queue it, unless it waits for approval.

        A task that cannot be queued is ended as failed. `worker` is the worker that holds the
        user's session, if any. Returns the key of an earlier task if this one only repeats it;
        nothing is written then. Raises LimitReached, QueueUnavailable, RecordRefused,
        RecordsUnavailable. See `Database.write` for `durable`.
        """
        pending = _Pending(new, worker, durable, asyncio.get_running_loop().create_future())
        self._committer.put(pending)
        return await pending.done

    def queue(self, task_id: str, cluster: str, worker: str = "") -> bool:
        """Queue a stored task; return False without Redis: a worker will find it. Blocks."""
        return not self._tasks.put_all([(task_id, cluster, worker)])

    def _write(self, group: Sequence[_Pending]) -> None:
        outcomes: Sequence[IdempotencyKey | Exception | None]
        try:
            outcomes = self._store.add_all(
                [each.new for each in group],
                durable=any(each.durable for each in group),
                max_queued=self._max_queued,
            )
        except RecordRefused:
            raise  # one of them: each is written by itself then
        except ResopError as fault:
            outcomes = [fault.copy() for _ in group]
        for each, outcome in zip(group, outcomes, strict=True):
            each.outcome = outcome

    def _reject(self, pending: _Pending, fault: Exception) -> None:
        pending.outcome = fault  # logged where the request is answered

    def _finish(self, group: Sequence[_Pending]) -> None:
        written = [
            each for each in group if each.outcome is None and each.new.task.state == State.QUEUED
        ]
        try:
            self._queue(written)
        except Exception as fault:
            for each in written:
                each.outcome = fault  # logged where the request is answered
        for each in group:
            each.done.get_loop().call_soon_threadsafe(each.resolve)

    def _queue(self, group: Sequence[_Pending]) -> None:
        tasks = [(each.new.task.id, each.new.task.cluster, each.worker) for each in group]
        unsent = set(self._tasks.put_all(tasks))
        for each in group:
            if each.new.task.id in unsent:
                each.outcome = self._abandon(each.new)

    def _abandon(self, new: NewTask) -> ResopError | None:
        """End a task whose message could not be sent; return None if a worker has it after all."""
        fault = QueueUnavailable()
        error = {**fault.as_json(), "undone": [], "needs_repair": []}
        try:
            if not self._store.end(new.task.id, State.FAILED, when=[State.QUEUED], error=error):
                return None  # the message arrived although sending it failed
            if new.key is not None:
                self._keys.delete(new.key.id)
        except ResopError as another:
            return another
        return fault
