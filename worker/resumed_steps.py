"""Durable steps of one task: their IDs, and what a previous worker recorded of them.

A worker that resumes a task runs its operation again. Steps that have ended answer from the
database, steps that were under way are found on the login node, and later steps are sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from resop.errors import ContactLost
from resop.limits import OUTPUT_LIMIT
from resop.ssh.runner.durable_step import DurableStep, StepIdGenerator, StepState
from resop.ssh.session import Session
from resop.steps.result import Result
from resop.steps.step import StepRequest
from resop.storage.database import Database
from resop.storage.models import ClaimedTask, Step
from resop.storage.step_output import StepOutputStore
from resop.storage.tasks import TaskStore
from resop.types import MASK

REPLAY_SECONDS = 5.0
"""How long a replayed operation may take to request its recorded steps once it requests another:
steps that run in parallel arrive in any order, but within a moment."""
NOT_DURABLE_PREFIX = "bare-"
"""Begins the ID of a step that is recognized again but not durable: transfers, and steps whose
output must not be on a disk."""


class PreviousRun(NamedTuple):
    """The record that a previous worker left of a task."""

    steps: Sequence[Step] = ()
    output_rows: int = 0
    output_lengths: Mapping[tuple[int, int], int] = {}
    """Characters of recorded output, by step number and stream."""


NO_PREVIOUS_RUN = PreviousRun()


def load_previous_run(database: Database, task: ClaimedTask) -> PreviousRun:
    """Read what a previous worker recorded; a command has no steps. Blocks.

    Raises RecordsUnavailable.
    """
    outputs = StepOutputStore(database)
    ends = outputs.ends(task.id)
    lengths = {
        (step, stream): len(text)
        for step, streams in outputs.so_far(task.id, ends).items()
        for stream, text in enumerate(streams, 1)
    }
    steps = TaskStore(database).steps(task.id)
    return PreviousRun(steps, max(ends.values(), default=0), lengths)


class ResumeState:
    """The durable steps of one task, and the recorded steps its operation has not repeated yet.

    Used on the worker's loop, except `replaying`.
    """

    def __init__(
        self,
        ids: StepIdGenerator | None = None,
        *,
        resumed: bool = False,
        recorded: Sequence[Step] | None = None,
    ) -> None:
        """Set up; without `ids` no step is durable, and no other worker can resume the task.

        `recorded` is None for a command, whose only step is recorded with the task.
        """
        self._ids = ids
        self._resumed = resumed
        self._is_command = recorded is None
        self._recorded = {step.step_id: step for step in recorded or () if step.step_id}
        self._durable_steps: dict[str, DurableStep] = {}
        """The steps to remove from the login node when the task has ended."""

    @property
    def durable(self) -> bool:
        """True while another worker could resume the task."""
        return self._ids is not None

    @property
    def replaying(self) -> bool:
        """True while recorded steps remain that the operation has not requested again."""
        return self.durable and bool(self._recorded)

    @property
    def unfinished(self) -> list[Step]:
        """The steps that a previous worker may have sent and whose end it has not recorded."""
        steps = self._recorded.values()
        return [step for step in steps if step.seconds is None and step.error is None]

    def disable(self) -> None:
        """Run the rest of the task without durable steps."""
        self._ids = None
        self._durable_steps.clear()

    async def identify(
        self, step: StepRequest, content: bytes = b"", *, durable: bool = True
    ) -> tuple[str | None, Step | None]:
        """Return a step's ID, and a previous worker's record of the step if there is one.

        Raises ContactLost if the operation requests other steps than with the previous worker.
        """
        if self._ids is None:
            return None, None
        step_id = ("" if durable else NOT_DURABLE_PREFIX) + self._ids.next_id(step, content)
        return step_id, await self._previous(step_id)

    def durable_step(self, step_id: str, previous: Step | None) -> DurableStep:
        """Describe a step to send or, if a previous worker may have sent it, to find."""
        state = StepState.NEW
        if previous is not None and previous.seconds is not None:
            state = StepState.ATTACH_ONLY
        elif previous is not None or (self._is_command and self._resumed):
            state = StepState.MAYBE_SENT
        # The previous worker, if it is not dead after all, may still request the step.
        durable = DurableStep(step_id, state, needs_tombstone=self._resumed)
        self._durable_steps[step_id] = durable
        return durable

    def release(self, step_id: str) -> DurableStep | None:
        """Return a step that need not wait for the task's end to be removed, if it is durable."""
        return self._durable_steps.pop(step_id, None)

    def forget_steps(self, session: Session) -> None:
        """Remove the task's steps from the login node; its end is recorded."""
        for durable in self._durable_steps.values():
            if durable.may_be_started:
                session.forget(durable)

    def diverged(self) -> ContactLost:
        """Return the error for an operation that does not repeat its recorded steps."""
        missing = ", ".join(step.command for step in self._recorded.values())
        return ContactLost(
            "another worker resumed the task, but its operation did not ask for the same steps "
            f"again: {missing}"
        )

    @cached_property
    def _all_repeated(self) -> asyncio.Event:
        return asyncio.Event()  # made on demand: few tasks are resumed, and thousands may run

    async def _previous(self, step_id: str) -> Step | None:
        if self._recorded and step_id not in self._recorded:
            try:
                async with asyncio.timeout(REPLAY_SECONDS):
                    await self._all_repeated.wait()
            except TimeoutError:
                raise self.diverged() from None
        step = self._recorded.pop(step_id, None)
        if step is not None and not self._recorded:
            self._all_repeated.set()
        return step


def is_complete(*outputs: str | None) -> bool:
    """Return True if recorded outputs are neither masked nor cut."""
    return not any(MASK in each or len(each) >= OUTPUT_LIMIT for each in outputs if each)


def recorded_result(step: Step, request: StepRequest) -> Result | None:
    """Return the result of an ended step; None if not all of it is recorded.

    Raises ContactLost for a step that failed without a result.
    """
    if step.error is not None:
        raise answer_not_recorded(step)
    if request.raw or not is_complete(step.stdout, step.stderr):
        return None
    return Result(
        step.stdout or "",
        step.stderr or "",
        step.exit_code or 0,
        step.seconds or 0.0,
        step.truncated,
        step.command,
    )


def answer_not_recorded(step: Step) -> ContactLost:
    """Return the error for an operation that cannot be resumed after a step."""
    return ContactLost(
        f"another worker resumed the task, but the answer of its step {step.number} is not "
        f"recorded: {step.command}"
    )
