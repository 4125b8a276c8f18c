"""Read a watched task once for all its watchers, when a message announces a change."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.concurrency import run_in_threadpool

from resop.errors import UnknownTask
from resop.messaging.messages import Resync, TaskEnded, TasksChanged
from resop.storage.models import Step, Task
from resop.storage.step_output import StepOutputStore
from resop.storage.tasks import TaskStore

MIN_REFRESH_SECONDS = 1.0
"""A snapshot that is younger is not read again without a message."""


@dataclass(frozen=True, slots=True)
class TaskSnapshot:
    """A task and its steps at one moment, without the output of the steps."""

    task: Task
    steps: list[Step]
    output_rows: Mapping[int, int] = field(default_factory=dict)
    """The number of the last row of output, by step; only steps with rows."""
    rendered: dict[Any, asyncio.Future[tuple[str, Any]]] = field(default_factory=dict)
    """Rendered events by cursor, cached because most watchers have the same cursor."""


class TaskWatch:
    """One watched task."""

    def __init__(self, tasks: TaskStore, outputs: StepOutputStore, task_id: str) -> None:
        self._tasks = tasks
        self._outputs = outputs
        self._task_id = task_id
        self._steps: list[Step] = []
        self._settled = 0  # this many steps at the beginning have ended: not read again
        self._rows: Mapping[int, int] = {}
        self._read_lock = asyncio.Lock()
        self._reading: asyncio.Task[TaskSnapshot] | None = None
        self._read_at = 0.0
        self.watchers = 0
        self.changed = asyncio.Event()
        """Set when there may be something new; get it before calling `snapshot`."""

    async def snapshot(self) -> TaskSnapshot:
        """Return the task as it is now. Raises UnknownTask if it no longer exists."""
        if self._reading is None:
            self._read_at = time.monotonic()
            self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(self._reading)

    def on_change(self) -> None:
        """Discard the present snapshot, and wake the watchers."""
        self._reading = None
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def refresh(self) -> None:
        """Discard the present snapshot, unless it is recent."""
        if time.monotonic() - self._read_at >= MIN_REFRESH_SECONDS:
            self._reading = None

    async def _read(self) -> TaskSnapshot:
        async with self._read_lock:
            task = await run_in_threadpool(self._tasks.get, self._task_id)
            if task is None:
                raise UnknownTask(f"there is no task {self._task_id!r}")
            settled = self._steps[: self._settled]
            after = settled[-1].number if settled else 0
            new = await run_in_threadpool(
                self._tasks.steps, self._task_id, after=after, output=False
            )
            self._steps = settled + new
            while self._settled < len(self._steps) and has_ended(self._steps[self._settled]):
                self._settled += 1
            # After the steps, so that all rows of a step that has ended are included.
            known = max(self._rows.values(), default=0)
            rows = await run_in_threadpool(self._outputs.ends, self._task_id, after=known)
            self._rows = {**self._rows, **rows}
            return TaskSnapshot(task, self._steps, self._rows)


class TaskWatches:
    """The watched tasks of one API process."""

    def __init__(self, tasks: TaskStore, outputs: StepOutputStore) -> None:
        self._tasks = tasks
        self._outputs = outputs
        self._watches: dict[str, TaskWatch] = {}
        self.closed = False

    @contextlib.contextmanager
    def watch(self, task_id: str) -> Iterator[TaskWatch]:
        """Watch a task; all its watchers share one TaskWatch."""
        watch = self._watches.setdefault(task_id, TaskWatch(self._tasks, self._outputs, task_id))
        watch.watchers += 1
        try:
            yield watch
        finally:
            watch.watchers -= 1
            if not watch.watchers:
                del self._watches[task_id]

    def on_message(self, message: TasksChanged | TaskEnded | Resync) -> None:
        """Let the watches of these tasks read again; all watches for Resync."""
        match message:
            case TasksChanged(tasks=tasks):
                task_ids = tasks
            case TaskEnded(task=task_id):
                task_ids = [task_id]
            case _:
                task_ids = list(self._watches)
        for task_id in task_ids:
            if task_id in self._watches:
                self._watches[task_id].on_change()

    def close(self) -> None:
        """End all streams: their clients reconnect, to another process or to the next one."""
        self.closed = True
        self.on_message(Resync())


def has_ended(step: Step) -> bool:
    """Return True if nothing more will be recorded of a step."""
    return step.seconds is not None or step.error is not None
