"""Takes new tasks in: all that have come meanwhile are written and queued together.

So requests that come at the same time share the cost of a transaction and of a message.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from resop.errors import QueueUnavailable, ResopError
from resop.messaging.batch_queue import BatchQueue
from resop.messaging.task_queue import TaskQueue
from resop.storage.idempotency_keys import IdempotencyKeyStore
from resop.storage.models import IdempotencyKey, State
from resop.storage.tasks import NewTask, TaskStore

GROUP = 50


@dataclass(slots=True, eq=False)
class _Pending:
    """A task that is to be taken in, and who waits for that."""

    new: NewTask
    worker: str
    durable: bool
    done: asyncio.Future[IdempotencyKey | None]
    outcome: IdempotencyKey | Exception | None = None
    """Of an earlier task the key; why it was not taken in; None when it was."""

    def tell(self) -> None:
        """Called on the loop of who waits, who may have gone."""
        if self.done.done():
            return
        if isinstance(self.outcome, Exception):
            self.done.set_exception(self.outcome)
        else:
            self.done.set_result(self.outcome)


class TaskSubmitter:
    """One thread that takes tasks in for the whole API process."""

    def __init__(
        self, store: TaskStore, keys: IdempotencyKeyStore, tasks: TaskQueue, most_queued: int
    ) -> None:
        """`most_queued` is how many tasks of one user may wait on one cluster."""
        self._store, self._keys = store, keys
        self._tasks = tasks
        self._most_queued = most_queued
        self._coming = BatchQueue[_Pending]()
        self._thread = threading.Thread(target=self._work, name="intake", daemon=True)

    def start(self) -> None:
        """Begin to take in."""
        self._thread.start()

    async def stop(self) -> None:
        """Take in what has come, then stop."""
        self._coming.close()
        await asyncio.to_thread(self._thread.join)

    async def add(
        self, new: NewTask, worker: str = "", *, durable: bool = True
    ) -> IdempotencyKey | None:
        """Write a task, then hand it to a worker; if that fails, nothing is left to be run.

        `worker` is the one that keeps its user's session. Returns the key of an earlier task
        where this one only repeats it, and nothing is written then. Raises LimitReached,
        QueueUnavailable, RecordsUnavailable; `durable` as in `Database.write`.
        """
        coming = _Pending(new, worker, durable, asyncio.get_running_loop().create_future())
        self._coming.put(coming)
        return await coming.done

    def _work(self) -> None:
        for group in self._coming.groups(GROUP):
            self._take_in(group)
            for each in group:
                each.done.get_loop().call_soon_threadsafe(each.tell)

    def _take_in(self, group: Sequence[_Pending]) -> None:
        self._write(group)
        written = [each for each in group if each.outcome is None]
        try:
            self._hand_over(written)
        except Exception as fault:
            for each in written:
                each.outcome = fault  # of the service; it is logged where it is answered

    def _write(self, group: Sequence[_Pending]) -> None:
        outcomes: Sequence[IdempotencyKey | Exception | None]
        try:
            outcomes = self._store.add_all(
                [each.new for each in group],
                durable=any(each.durable for each in group),
                max_queued=self._most_queued,
            )
        except ResopError as fault:
            outcomes = [fault.own() for _ in group]
        except Exception as fault:
            if len(group) > 1:  # one of them is at fault, and the others are not to suffer
                for each in group:
                    self._write([each])
                return
            outcomes = [fault]
        for each, outcome in zip(group, outcomes, strict=True):
            each.outcome = outcome

    def _hand_over(self, group: Sequence[_Pending]) -> None:
        tasks = [(each.new.task.id, each.new.task.cluster, each.worker) for each in group]
        unsent = set(self._tasks.put_all(tasks))
        for each in group:
            if each.new.task.id in unsent:
                each.outcome = self._given_up(each.new)

    def _given_up(self, new: NewTask) -> ResopError | None:
        """Have nothing left of a task that no message was sent for; None where it runs."""
        fault = QueueUnavailable()
        error = {**fault.as_json(), "undone": [], "needs_repair": []}
        try:
            if not self._store.end(new.task.id, State.FAILED, when=State.QUEUED, error=error):
                return None  # a worker has it all the same: the message did arrive
            if new.key is not None:
                self._keys.delete(new.key.id)
        except ResopError as another:
            return another
        return fault
