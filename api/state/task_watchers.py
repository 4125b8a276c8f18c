"""Watched tasks: read once for all who watch them in this process, when word comes of a change."""

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

FRESH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class TaskSnapshot:
    """A task and its steps, without the output of these, as they stood at one moment."""

    task: Task
    steps: list[Step]
    output_rows: Mapping[int, int] = field(default_factory=dict)
    """The steps of which there are rows of output, and the number of the last row of each."""
    rendered: dict[Any, asyncio.Future[tuple[str, Any]]] = field(default_factory=dict)
    """What is said of it to those who have come to a place; kept here as all of them need it."""


class TaskWatch:
    """One task that is watched."""

    def __init__(self, tasks: TaskStore, printed: StepOutputStore, task_id: str) -> None:
        self._tasks = tasks
        self._printed = printed
        self._task_id = task_id
        self._steps: list[Step] = []
        self._settled = 0  # so many have ended, and are not read again
        self._rows: Mapping[int, int] = {}
        self._one_at_a_time = asyncio.Lock()
        self._reading: asyncio.Task[TaskSnapshot] | None = None
        self._read_at = 0.0
        self.watchers = 0
        self.changed = asyncio.Event()
        """Set when there may be something new; take it before you `look`."""

    async def snapshot(self) -> TaskSnapshot:
        """The task as it stands; UnknownTask when it is there no more."""
        if self._reading is None:
            self._read_at = time.monotonic()
            self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(self._reading)

    def on_change(self) -> None:
        """There may be something new."""
        self._reading = None
        heard, self.changed = self.changed, asyncio.Event()
        heard.set()

    def refresh(self) -> None:
        """Nothing was heard for a while: read it again, unless that was done for another."""
        if time.monotonic() - self._read_at >= FRESH_SECONDS:
            self._reading = None

    async def _read(self) -> TaskSnapshot:
        async with self._one_at_a_time:
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
            # Last: of a step that is seen to have ended all rows are seen.
            known = max(self._rows.values(), default=0)
            rows = await run_in_threadpool(self._printed.ends, self._task_id, after=known)
            self._rows = {**self._rows, **rows}
            return TaskSnapshot(task, self._steps, self._rows)


class TaskWatches:
    """The feeds of one API process, by task."""

    def __init__(self, tasks: TaskStore, printed: StepOutputStore) -> None:
        self._tasks = tasks
        self._printed = printed
        self._feeds: dict[str, TaskWatch] = {}
        self.closed = False

    @contextlib.contextmanager
    def feed(self, task_id: str) -> Iterator[TaskWatch]:
        """The feed of a task, the same for all who watch it."""
        feed = self._feeds.setdefault(task_id, TaskWatch(self._tasks, self._printed, task_id))
        feed.watchers += 1
        try:
            yield feed
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                del self._feeds[task_id]

    def on_message(self, message: TasksChanged | TaskEnded | Resync) -> None:
        """Let the watches of these tasks read again; all watches for Resync."""
        match message:
            case TasksChanged(tasks=tasks):
                task_ids = tasks
            case TaskEnded(task=task_id):
                task_ids = [task_id]
            case _:
                task_ids = list(self._feeds)
        for task_id in task_ids:
            if task_id in self._feeds:
                self._feeds[task_id].on_change()

    def close(self) -> None:
        """Let all who watch go: they come back to another process, or to the next."""
        self.closed = True
        self.on_message(Resync())


def has_ended(step: Step) -> bool:
    """Whether nothing more is to come of a step."""
    return step.seconds is not None or step.error is not None
