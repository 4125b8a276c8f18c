"""One connection of a session: its runner, the channels in use, and how a step runs over it."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field, replace
from enum import Enum

import asyncssh

from resop.ssh.exec_channel import run_command_line
from resop.ssh.runner.client import RunnerClient
from resop.ssh.runner.durable_step import DurableStep, RunnerUnavailable
from resop.steps.output import (
    NOISE_LIMIT,
    NoiseFilter,
    OutputCallback,
    RawResult,
    with_mark,
    without_noise,
)
from resop.steps.step import StepRequest


class Use(Enum):
    """A use of a connection."""

    STEP = "a step, over the runner or an exec channel"
    TRANSFER = "a file transfer, over a channel of its own"


@dataclass(slots=True, eq=False)
class PooledConnection:
    """One connection, with the steps and transfers that use it."""

    connection: asyncssh.SSHClientConnection
    runner: RunnerClient | None = None
    in_use: int = 0
    """Its steps: each has a place on the runner, else an exec channel."""
    transfers: int = 0
    """Its file transfers: each has a channel."""
    single_channel: bool = False
    """True if the login node has refused a second channel."""
    expires_at: float = math.inf
    """When the connection is too old to be used (time.monotonic)."""
    idle_since: float = field(default_factory=time.monotonic)
    retired: bool = False
    """True if the connection is to be closed as soon as nothing runs over it."""
    _renewal: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        """Have the runner replaced when it asks for that."""
        if self.runner is not None:
            self.runner.on_retire = self._start_renewal

    @property
    def is_busy(self) -> bool:
        """True if anything runs over the connection."""
        return bool(self.in_use or self.transfers)

    @property
    def channels(self) -> int:
        """The number of channels that are in use."""
        return (self.in_use if self.runner is None else 1) + self.transfers

    def has_room(self, use: Use, channel_limit: int) -> bool:
        """Return whether one more step or transfer may begin now."""
        if self.is_stale:
            return False
        if self.runner is not None and use is Use.STEP:
            return self.in_use < self.runner.max_steps
        return self.channels < channel_limit

    def count(self, use: Use, change: int) -> None:
        """Add to the number of steps or transfers."""
        if use is Use.STEP:
            self.in_use += change
        else:
            self.transfers += change

    @property
    def is_stale(self) -> bool:
        """True if no further step may run over the connection."""
        expired = time.monotonic() > self.expires_at
        return self.retired or expired or self.connection.is_closed() or self.runner_crashed

    @property
    def runner_crashed(self) -> bool:
        """True if the connection had a runner that works no more."""
        return self.runner is not None and self.runner.is_broken

    @property
    def has_runner_fault(self) -> bool:
        """True if the runner broke under its steps, and not just because the connection did."""
        runner, closed = self.runner, self.connection.is_closed()
        return runner is not None and runner.is_broken and not runner.ended_idle and not closed

    def _start_renewal(self) -> None:
        self._renewal = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        """Start another runner for the next steps, or else have the connection replaced."""
        new = await RunnerClient.start(self.connection)
        if new is None:  # a held connection has no other
            self.retired = self.expires_at < math.inf
            return
        new.on_retire = self._start_renewal
        old, self.runner = self.runner, new
        if old is not None:
            old.retire()

    async def run(
        self,
        step: StepRequest,
        limit: float,
        on_output: OutputCallback | None,
        durable: DurableStep | None,
    ) -> RawResult:
        """Run one step, and drop the output that rc files print before the step's own.

        With `durable` the step needs the runner: without one it raises RunnerUnavailable.
        """
        if durable is not None:
            return await self._run_durable(step, limit, on_output, durable)
        runner = self.runner
        if runner is not None and not runner.reads_rc_files:
            return await runner.run(step, limit, on_output)
        own_line = runner is not None and runner.shows_line
        line, mark = with_mark(step.line, own_line=own_line)
        noise_filter = NoiseFilter(mark, step.max_output, on_output) if on_output else None
        with_noise = replace(step, line=line, max_output=step.max_output + NOISE_LIMIT)
        if runner is not None:
            raw = await runner.run(with_noise, limit, noise_filter)
        else:
            max_output = with_noise.max_output
            raw = await run_command_line(
                self.connection, line, step.input, limit, max_output, noise_filter
            )
        if noise_filter is not None:
            noise_filter.finish()
        return without_noise(raw, mark, step.max_output)

    async def _run_durable(
        self,
        step: StepRequest,
        limit: float,
        on_output: OutputCallback | None,
        durable: DurableStep,
    ) -> RawResult:
        """Run a durable step: its mark is the step ID, which every worker that resumes it knows."""
        if self.runner is None:
            raise RunnerUnavailable("there is no runner on the login node; nothing was sent")
        own_line = self.runner.shows_line
        line, mark = with_mark(step.line, durable.step_id, own_line=own_line)
        with_noise = replace(step, max_output=step.max_output + NOISE_LIMIT)
        if self.runner.reads_rc_files:
            with_noise = replace(with_noise, line=line)
            if on_output is not None and durable.noise_filter is None:
                durable.noise_filter = NoiseFilter(mark, step.max_output, on_output)
            on_output = durable.noise_filter
        raw = await self.runner.run(with_noise, limit, on_output, durable)
        if durable.noise_filter is not None:
            durable.noise_filter.finish()
        return without_noise(raw, mark, step.max_output)
