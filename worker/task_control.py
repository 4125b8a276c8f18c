"""One task's time limit, cancellation and hand-off: may it send another step, and for how long?"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from resop.errors import ResopError, StepTimedOut, TaskCancelled
from resop.ssh.runner.durable_step import DurableStep
from resop.steps.step import UNDO_SECONDS, StepRequest

Answer = TypeVar("Answer")


class TaskHandedOff(BaseException):
    """Ends a task here because another worker will resume it; no operation may catch it."""


class TaskControl:
    """Checks before each step that its task may continue.

    Used on the worker's loop, except `wait`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        """Set the end of the task's own time, as a time of `time.monotonic`."""
        self.deadline = deadline
        self.cancelled = False
        self._loop = loop
        self._handing_off = False
        self._running: set[asyncio.Task[Any]] = set()
        self._durable_steps: dict[asyncio.Task[Any], DurableStep] = {}

    def wait(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Run a coroutine on the worker's loop; blocks the calling thread, an operation's."""
        return asyncio.run_coroutine_threadsafe(self._cancellable(work), self._loop).result()

    def cancel(self) -> None:
        """End the running steps and refuse all further steps except undo steps."""
        self.cancelled = True
        for running in self._running:
            running.cancel()

    def hand_off(self) -> None:
        """Leave the durable steps to another worker and send no further step.

        A task that is being cancelled continues here.
        """
        if not self.cancelled:
            self._handing_off = True
            for running, durable in self._durable_steps.items():
                durable.hand_off()
                running.cancel()

    @contextlib.contextmanager
    def surviving_hand_off(self, durable: DurableStep) -> Iterator[None]:
        """Have a hand-off leave this step, run by the current coroutine, on the login node."""
        running = asyncio.current_task()
        assert running is not None
        self._durable_steps[running] = durable
        try:
            yield
        except asyncio.CancelledError:
            if durable.handed_off:
                raise TaskHandedOff from None
            raise
        finally:
            del self._durable_steps[running]

    def check_hand_off(self) -> None:
        """Raise TaskHandedOff if another worker will resume the task."""
        if self._handing_off:
            raise TaskHandedOff

    def remaining(self) -> float:
        """Return the seconds left to the task; raises TaskCancelled and StepTimedOut."""
        seconds = self.deadline - time.monotonic()
        if seconds > 0 and not self.cancelled:
            return seconds
        fault: ResopError = TaskCancelled("the task was cancelled; no further step was sent")
        if not self.cancelled:
            fault = StepTimedOut("the task's time limit is reached; no further step was sent")
        fault.nothing_sent = True
        raise fault

    def time_limit(self, step: StepRequest) -> float:
        """Return the time limit of a step in seconds; raises TaskCancelled and StepTimedOut."""
        if step.undo:
            return step.timeout or UNDO_SECONDS
        remaining = self.remaining()
        return min(step.timeout or remaining, remaining)

    async def _cancellable(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        running = asyncio.ensure_future(work)
        self._running.add(running)
        try:
            return await running
        except asyncio.CancelledError:
            raise TaskCancelled("the task was cancelled; this step was not sent") from None
        finally:
            self._running.discard(running)
