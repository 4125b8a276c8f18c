"""Fakes of the record writer and the session, for the tests of a task's executor."""

import asyncio
from concurrent.futures import Future
from typing import Any

from resop.ssh.runner.durable_step import DurabilityUnavailable, DurableStep, NeverStarted
from resop.steps.output import RawResult
from resop.steps.step import StepRequest
from resop.storage.changes import Change


class FakeWriter:
    """Writes nothing, and keeps the values of each change."""

    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []

    def write_soon(self, change: Change) -> Future[None]:
        assert isinstance(change.values, dict)
        bound = change.values.items()
        self.written.append(
            {name.removeprefix("new_").removeprefix("of_"): value for name, value in bound}
        )
        written: Future[None] = Future()
        written.set_result(None)
        return written

    write_now = write_soon

    def all_of(self, column: str) -> list[Any]:
        """Return the values written to a column, in order."""
        return [values[column] for values in self.written if column in values]


class FakeSession:
    """Answers each step with its number; `false` fails. Can refuse durable steps."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.durable_steps: list[DurableStep] = []
        self.forgotten: list[str] = []
        self.supports_durable = True
        self.requested = asyncio.Event()

    async def run(self, step: StepRequest, *_: Any) -> RawResult:
        self.sent.append(step.line)
        return RawResult(f"{len(self.sent)}\n".encode(), b"", int("false" in step.line), 0.0, False)

    async def run_durable(
        self, step: StepRequest, limit: float, durable: DurableStep, *_: Any
    ) -> RawResult:
        self.durable_steps.append(durable)
        self.requested.set()
        if not self.supports_durable:
            raise DurabilityUnavailable()
        if durable.is_attach_only:
            raise NeverStarted()
        await asyncio.sleep(0.05 if step.line == "exec slow" else 0)
        durable.request(step.input)
        durable.mark_sent()
        return await self.run(step)

    def forget(self, durable: DurableStep) -> None:
        self.forgotten.append(durable.step_id)
