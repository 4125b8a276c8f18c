"""The steps of one task that survive: what they are called, and what is in the record of them.

A worker that takes the task up runs its operation again. Steps that have ended answer from the
record, those that were under way are found on the login node, and what comes after is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from resop.errors import ContactLost
from resop.limits import OUTPUT_LIMIT
from resop.ssh.runner.durable_step import DurableStep, StepIdGenerator, StepState
from resop.steps.result import Result
from resop.steps.step import StepRequest
from resop.storage.database import Database
from resop.storage.models import ClaimedTask, Step
from resop.storage.step_output import StepOutputStore
from resop.storage.tasks import TaskStore
from resop.types import MASK

ASTRAY_SECONDS = 5.0
"""Steps that run at the same time are asked for in any order, but within a moment."""


class TaskHandedOff(BaseException):
    """This worker stops: another one will take the task up. No operation is to catch it."""


class PreviousRun(NamedTuple):
    """What another worker has recorded of a task that it has left."""

    steps: Sequence[Step] = ()
    rows: int = 0
    """Rows of what they have printed."""
    told: Mapping[tuple[int, int], int] = {}
    """By step and stream, how many characters of it stand there."""


NOTHING = PreviousRun()


def what_is_left(database: Database, task: ClaimedTask) -> PreviousRun:
    """Read it; of a command there are no steps. Blocks; raises RecordsUnavailable."""
    printed = StepOutputStore(database)
    ends = printed.ends(task.id)
    told = {
        (step, stream): len(text)
        for step, both in printed.so_far(task.id, ends).items()
        for stream, text in enumerate(both, 1)
    }
    return PreviousRun(TaskStore(database).steps(task.id), max(ends.values(), default=0), told)


class ResumeState:
    """What one task knows of its surviving steps. Used on the worker's loop."""

    def __init__(
        self, names: StepIdGenerator, *, taken_over: bool, recorded: Sequence[Step] | None = None
    ) -> None:
        """`recorded` is None for a command, whose only step has no record of its own."""
        self.names = names
        self.taken_over = taken_over
        self.is_command = recorded is None
        recorded = recorded or ()
        self.recorded = {step.step_id: step for step in recorded if step.step_id}
        """Of an earlier worker, those that were not asked for again yet."""
        self.kept: dict[str, DurableStep] = {}
        """On the login node, to be forgotten when the task has ended."""

    @cached_property
    def _all_found(self) -> asyncio.Event:
        return asyncio.Event()  # few tasks are taken up, and thousands may be held

    @property
    def under_way(self) -> list[Step]:
        """What an earlier worker has begun, and may have sent, whose end it has not recorded."""
        steps = self.recorded.values()
        return [step for step in steps if step.seconds is None and step.error is None]

    async def earlier(self, name: str) -> Step | None:
        """What an earlier worker has recorded of a step; None where it was not sent.

        Raises ContactLost when the operation now takes another way than it did.
        """
        if name not in self.recorded and self.recorded:
            try:
                async with asyncio.timeout(ASTRAY_SECONDS):
                    await self._all_found.wait()
            except TimeoutError:
                raise self.diverged() from None
        step = self.recorded.pop(name, None)
        if step is not None and not self.recorded:
            self._all_found.set()
        return step

    def diverged(self) -> ContactLost:
        """The operation does not do again what it did with an earlier worker."""
        missed = ", ".join(step.command for step in self.recorded.values())
        return ContactLost(
            "another worker took the task up, and its operation did not ask for the same steps "
            f"again: {missed}"
        )

    def keep(self, name: str, earlier: Step | None) -> DurableStep:
        """A step to be sent or, where an earlier worker may have done so, to be found."""
        state = StepState.NEW
        if earlier is not None and earlier.seconds is not None:
            state = StepState.ATTACH_ONLY
        elif earlier is not None or (self.is_command and self.taken_over):
            state = StepState.MAYBE_SENT
        # The previous worker, if it is not dead after all, may still request the step.
        keep = DurableStep(name, state, needs_tombstone=self.taken_over)
        self.kept[name] = keep
        return keep


def is_exact(*outputs: str | None) -> bool:
    """Whether the record has all of what it has of these: nothing was hidden or cut."""
    return not any(MASK in each or len(each) >= OUTPUT_LIMIT for each in outputs if each)


def answer_again(step: Step, request: StepRequest) -> Result | None:
    """What a step has answered before; None where the record does not have all of it.

    Raises ContactLost for a step that failed without an answer.
    """
    if step.error is not None:
        raise cannot_answer(step)
    if request.raw or not is_exact(step.stdout, step.stderr):
        return None
    return Result(
        step.stdout or "",
        step.stderr or "",
        step.exit_code or 0,
        step.seconds or 0.0,
        step.truncated,
        step.command,
    )


def cannot_answer(step: Step) -> ContactLost:
    """Why an operation cannot be resumed after this step."""
    return ContactLost(
        f"another worker took the task up, but what its step {step.number} has answered "
        f"is not in the record: {step.command}"
    )
