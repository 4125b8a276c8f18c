"""Sends one task's steps to the login node, or answers them from a previous worker's record."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

from resop.errors import ContactLost, ResopError, TaskCancelled
from resop.limits import OUTPUT_LIMIT
from resop.security.masking import Masker
from resop.ssh.runner.durable_step import DurabilityUnavailable, DurableStep, NeverStarted
from resop.ssh.session import Session
from resop.steps.output import OutputCallback, RawResult
from resop.steps.result import Result
from resop.steps.step import StepRequest
from resop.storage.models import Step, now
from resop.types import MASK
from worker.off_loop import off_loop
from worker.resumed_steps import (
    NOT_DURABLE_PREFIX,
    ResumeState,
    answer_not_recorded,
    is_complete,
    recorded_result,
)
from worker.step_journal import StepJournal
from worker.task_control import TaskControl

log = logging.getLogger(__name__)


class StepSender:
    """Runs the steps of one task. Used on the worker's loop."""

    def __init__(
        self,
        task_id: str,
        session: Session,
        masker: Masker,
        control: TaskControl,
        journal: StepJournal,
        resume: ResumeState,
    ) -> None:
        self._task_id = task_id
        self._session = session
        self._masker = masker
        self._control = control
        self._journal = journal
        self._resume = resume

    async def run(self, step: StepRequest) -> Result:
        """Run a step of an operation and record it, or return its recorded result."""
        self._control.check_hand_off()
        self._masker.learn(step.secrets)
        step_id, previous = await self._resume.identify(step, durable=not step.secret_output)
        result = self._recorded(previous, step) if previous is not None else None
        if result is not None:
            self._session.forget(DurableStep(step_id or "", needs_tombstone=True))
        else:
            result = await self._run_recorded(step, step_id, previous)
        return result

    async def run_command(self, step: StepRequest) -> Result:
        """Run the only step of a command; the task itself is its record."""
        step_id, _ = await self._resume.identify(step)
        return await self._run(step, 0, step_id, None)

    async def end_unfinished(self, reason: str) -> ContactLost:
        """End the steps that a previous worker left under way.

        Returns the error for the task: the reason, and the outcome of each step.
        """
        outcomes = [
            f"of its step {step.number} ({step.command}): {await self._end_unfinished_step(step)}"
            for step in self._resume.unfinished
        ]
        outcomes = outcomes or ["no step was under way"]
        return ContactLost("; ".join([reason, *outcomes, "no later step was sent"]))

    def forget_steps(self) -> None:
        """Remove the task's durable steps from the login node; its end is recorded."""
        self._resume.forget_steps(self._session)

    def _recorded(self, previous: Step, step: StepRequest) -> Result | None:
        """Return the recorded result of a step; None if the step must be found on the node."""
        if step.secret_output:
            raise answer_not_recorded(previous)
        if previous.seconds is None and previous.error is None:
            return None
        return recorded_result(previous, step)

    async def _run_recorded(
        self, step: StepRequest, step_id: str | None, previous: Step | None
    ) -> Result:
        recording = self._journal.recorded(
            step.display, undo=step.undo, step_id=step_id, previous=previous
        )
        async with recording as record:
            result = await self._run(step, record.number, step_id, previous)
            stdout, stderr = await off_loop(
                lambda: (self._for_record(result.stdout), self._for_record(result.stderr)),
                (result.stdout, result.stderr),
            )
            record.values = {
                "seconds": result.seconds,
                "exit_code": result.exit_code,
                "stdout": MASK if step.secret_output else stdout,
                "stderr": stderr,
                "truncated": result.truncated or len(result.stdout) > OUTPUT_LIMIT,
            }
            ends_here = previous is None or previous.seconds is None
            can_answer = ends_here and not step.raw and is_complete(stdout, stderr)
            # Once the database can answer, the login node need not keep the step.
            if can_answer and step_id and (durable := self._resume.release(step_id)):
                record.on_written = partial(self._session.forget, durable)
        return result

    async def _run(
        self, step: StepRequest, number: int, step_id: str | None, previous: Step | None
    ) -> Result:
        """Run a step or find it on the login node, recording its output under `number` meanwhile.

        The number is 0 for a command's only step.
        """
        self._masker.learn(step.secrets)
        command = self._masker.text(step.display)
        try:
            with self._journal.capture(step, number) as capture:
                raw = await self._send(step, capture, step_id, previous)
        except ResopError as fault:
            fault.details.setdefault("step", {"command": command})
            raise
        return Result(
            "" if step.raw else self._decoded(raw.stdout, step),
            self._decoded(raw.stderr, step),
            raw.exit_code,
            raw.seconds,
            raw.truncated,
            command,
            raw.stdout if step.raw else b"",
        )

    async def _send(
        self,
        step: StepRequest,
        on_output: OutputCallback,
        step_id: str | None,
        previous: Step | None,
    ) -> RawResult:
        if self._resume.durable and step_id and not step_id.startswith(NOT_DURABLE_PREFIX):
            durable = self._resume.durable_step(step_id, previous)
            try:
                return await self._send_durable(step, durable, on_output)
            except NeverStarted:
                if previous is None:
                    raise
                raise answer_not_recorded(previous) from None
            except DurabilityUnavailable as fault:
                log.info("task %s: its steps are not durable: %s", self._task_id, fault.message)
                self._resume.disable()
                # Before the step is sent: a worker that resumed the task would send it again.
                await self._journal.record_not_durable()
        return await self._session.run(step, self._control.time_limit(step), on_output)

    async def _send_durable(
        self, step: StepRequest, durable: DurableStep, on_output: OutputCallback
    ) -> RawResult:
        self._control.check_hand_off()
        may_end = durable.may_be_started and not step.undo
        if may_end and self._control.cancelled:
            return await self._end_cancelled(durable)
        is_late = may_end and time.monotonic() >= self._control.deadline
        limit = 0.0 if is_late else self._control.time_limit(step)
        with self._control.surviving_hand_off(durable):
            return await self._session.run_durable(step, limit, durable, on_output)

    async def _end_cancelled(self, durable: DurableStep) -> RawResult:
        try:
            return await self._session.end_durable(durable)
        except NeverStarted:
            message = "the task was cancelled; this step was not sent"
            raise TaskCancelled(message, ended=True) from None

    async def _end_unfinished_step(self, step: Step) -> str:
        """End a step that a previous worker left, unless it has ended; return its outcome."""
        assert step.step_id is not None
        durable = self._resume.durable_step(step.step_id, step)
        values: dict[str, Any] = {}
        try:
            if step.step_id.startswith(NOT_DURABLE_PREFIX):
                raise ContactLost()
            raw = await self._session.end_durable(durable)
        except NeverStarted:
            outcome = "it was never started"
        except TaskCancelled as fault:
            outcome = "it was ended"
            if not fault.details["ended"]:
                outcome = "it was sent a signal to end, but its end could not be verified"
        except ResopError as fault:
            outcome = fault.message
        else:
            outcome = f"it had ended with exit code {raw.exit_code}"
            seconds = (now() - step.started_at).total_seconds()
            values = {"exit_code": raw.exit_code, "seconds": seconds}
        self._journal.record_end(step.number, **(values or {"error": outcome}))
        return outcome

    def _decoded(self, output: bytes, step: StepRequest) -> str:
        """Decode output; where it was cut, without what may be the beginning of a secret."""
        text = output.decode("utf-8", "replace")
        if len(output) >= step.max_output:
            text = self._masker.without_beginning(text)
        return text

    def _for_record(self, output: str) -> str:
        """Mask output and cut it: an operation may request more than is recorded."""
        return self._masker.text(output, OUTPUT_LIMIT)
