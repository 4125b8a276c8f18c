"""The session of a user on a cluster: it runs the steps of all the user's tasks.

Steps run over one channel to the runner at its other end (`resop/ssh/runner/client.py`). Where a
runner cannot be had, each step gets its own exec channel. Beside a runner, file transfers have
their own connections, where the session may open any: a busy connection would delay steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import asyncssh

from resop.errors import (
    AccessError,
    ClusterUnreachable,
    ContactLost,
    HostKeyMismatch,
    ResopError,
    StepTimedOut,
    TaskCancelled,
)
from resop.ssh.channel_allocator import ChannelAllocator
from resop.ssh.connection_opener import Connect, ConnectionOpener
from resop.ssh.exec_channel import ChannelRefused, await_uninterrupted, cancelled
from resop.ssh.pooled_connection import PooledConnection, Use
from resop.ssh.runner.durable_step import (
    DurabilityUnavailable,
    DurableStep,
    NeverStarted,
    RunnerUnavailable,
)
from resop.steps.output import OutputCallback, RawResult
from resop.steps.step import StepRequest

log = logging.getLogger(__name__)

T = TypeVar("T")
OpenChannel = Callable[[asyncssh.SSHClientConnection], Awaitable[T]]

MAX_CHANNEL_REFUSALS = 6
RETRY_PAUSE = 0.05
"""Seconds before the first retry of a step; doubled with each further one."""
MAX_RETRY_PAUSE = 15.0
MAX_FORGOTTEN = 200
"""The number of durable steps whose FORGET is repeated over the next connection."""
REATTACH_SECONDS = 30.0
"""How long to look for a durable step after its time limit, and on a node without a runner."""

_TRANSIENT = (ContactLost, ClusterUnreachable, StepTimedOut)
"""After these errors a durable step may be found over another connection."""


class Session:
    """All connections of one user on one cluster."""

    def __init__(self, connect: Connect, *, runner: bool = True, held: bool = False) -> None:
        """Open connections with `connect`, as steps need them; `runner`: start runners on them.

        `held`: one connection serves steps and transfers, and is not closed for its age.
        """
        opener = ConnectionOpener(connect, use_runner=runner, held=held)
        self.allocator = self._transfers = ChannelAllocator(opener, self._on_open)
        self._allocators = [self.allocator]
        if runner and not held:
            opener = ConnectionOpener(connect, use_runner=False)
            self._transfers = ChannelAllocator(opener, self._on_open)
            self._allocators.append(self._transfers)
        self._forgotten: deque[DurableStep] = deque(maxlen=MAX_FORGOTTEN)

    def connect_with(self, connect: Connect) -> None:
        """Open further connections with `connect`."""
        for each in self._allocators:
            each.opener.connect = connect

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return sum(len(each.connections) for each in self._allocators)

    @property
    def has_spare_channel(self) -> bool:
        """True if a step can run while a file transfer has its channel."""
        return self._transfers is not self.allocator or self.allocator.has_spare_channel

    @property
    def may_lack_channel(self) -> bool:
        """True if it is not known whether a step can run while a transfer has its channel."""
        return self.allocator.opener.held and not self.allocator.has_runner

    @contextlib.asynccontextmanager
    async def channel(self, limit: float, open_channel: OpenChannel[T]) -> AsyncIterator[T]:
        """Hold a channel for a file transfer; wait for it within `limit` seconds.

        `open_channel` opens it on a connection. What it raises as ChannelRefused is tried again,
        since nothing was sent. Raises ChannelRefused if no channel can be had.
        """
        deadline = time.monotonic() + limit
        refusals = _Refusals(self._transfers, Use.TRANSFER)
        while True:
            async with _channel(self._transfers, deadline, limit, Use.TRANSFER) as pooled:
                try:
                    opened = await open_channel(pooled.connection)
                except ChannelRefused as fault:
                    refusals.note(pooled, fault)
                else:
                    yield opened
                    return
            await refusals.pause()

    async def run(
        self,
        step: StepRequest,
        limit: float,
        on_output: OutputCallback | None = None,
        durable: DurableStep | None = None,
    ) -> RawResult:
        """Run one step within `limit` seconds, which include the wait for a channel.

        `on_output` receives the output in the order in which it arrives. Raises what
        `run_command_line` raises; a refused channel is requested again, since nothing was sent.
        With `durable` it makes one attempt, as `RunnerClient.run` does: use `run_durable`.
        """
        deadline = time.monotonic() + limit
        refusals = _Refusals(self.allocator, Use.STEP)
        while True:
            async with _channel(self.allocator, deadline, limit, Use.STEP) as pooled:
                try:
                    remaining = max(0.0, deadline - time.monotonic())
                    return await pooled.run(step, remaining, on_output, durable)
                except ChannelRefused as fault:
                    refusals.note(pooled, fault)
            await refusals.pause()

    async def run_durable(
        self,
        step: StepRequest,
        limit: float,
        durable: DurableStep,
        on_output: OutputCallback | None = None,
    ) -> RawResult:
        """Run a durable step; when a connection breaks, find the step again over another.

        Raises what `run` raises as long as nothing was sent, and DurabilityUnavailable when the
        node cannot run durable steps. Raises ContactLost when the step may have been started and
        no connection could be had until its time was over.
        """
        deadline = time.monotonic() + limit
        try:
            return await self._run_until_done(step, deadline, durable, on_output)
        except asyncio.CancelledError:
            if durable.handed_off or not durable.may_be_started:
                raise
            # The step was cancelled between two connections: end it over a new one.
            raise cancelled(await await_uninterrupted(self._end_and_verify(durable))) from None
        except NeverStarted:
            if time.monotonic() < deadline:
                raise
            raise StepTimedOut("the step's time was over before it was sent", ended=True) from None

    async def _run_until_done(
        self,
        step: StepRequest,
        deadline: float,
        durable: DurableStep,
        on_output: OutputCallback | None,
    ) -> RawResult:
        give_up_at = deadline + REATTACH_SECONDS
        pause = RETRY_PAUSE
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0:  # too late to start the step
                if not durable.may_be_started:
                    raise NeverStarted()
                durable.attach_only()
                remaining = REATTACH_SECONDS
            try:
                return await self.run(step, remaining, on_output, durable)
            except _TRANSIENT as fault:
                if durable.is_done or not durable.may_be_started:
                    raise
                pause = min(2 * pause, MAX_RETRY_PAUSE)
                give_up_at = _give_up_at(fault, deadline, give_up_at)
                if time.monotonic() + pause > give_up_at:
                    raise _not_found(fault) from fault
                log.info("looking for a durable step again: %s", fault.message)
            except (AccessError, HostKeyMismatch) as fault:
                raise _not_found(fault) if durable.may_be_started else fault from None
            await asyncio.sleep(pause)

    async def end_durable(self, durable: DurableStep) -> RawResult:
        """Find a durable step and end it; return its result if it has ended by itself.

        Raises TaskCancelled when it was ended here, and NeverStarted when it was not started; now
        it never will be.
        """
        durable.end()
        return await self.run(StepRequest("", ""), REATTACH_SECONDS, durable=durable)

    async def _end_and_verify(self, durable: DurableStep) -> bool:
        """End a durable step; return whether its end was seen."""
        try:
            await self.end_durable(durable)
        except TaskCancelled as fault:
            return bool(fault.details["ended"])
        except NeverStarted:
            return True
        except ResopError:
            return durable.is_done
        return True

    def forget(self, durable: DurableStep) -> None:
        """Have the node remove the files of a step; unasked it does so after a day.

        FORGET is repeated over the next connection: this one may be about to break.
        """
        self._forgotten.append(durable)
        for pooled in self.allocator.connections:
            if pooled.runner is not None and not pooled.is_stale:
                pooled.runner.forget(durable)
                return

    async def close_idle(self, before: float) -> None:
        """Close the connections over which nothing has run since `before` (time.monotonic)."""
        for each in self._allocators:
            await each.close_idle(before)

    async def retire(self) -> None:
        """Close every connection as soon as nothing runs over it; further steps open new ones."""
        for each in self._allocators:
            await each.retire()

    async def close(self) -> None:
        """Close all connections; raise ClusterUnreachable in all steps that wait for one."""
        for each in self._allocators:
            await each.close()

    def _on_open(self, pooled: PooledConnection) -> None:
        # The connection keeps its session alive: SessionPool only holds a weak reference.
        pooled.connection.set_extra_info(session=self)
        if pooled.runner is not None:
            for durable in self._forgotten:
                pooled.runner.forget(durable)


class _Refusals:
    """The channels that a login node refused to one step or transfer."""

    def __init__(self, allocator: ChannelAllocator, use: Use) -> None:
        self._allocator = allocator
        self._use = use
        self._unexplained = 0

    def note(self, pooled: PooledConnection, fault: ChannelRefused) -> None:
        """Note a refusal; raise `fault` if it is not for want of a free channel."""
        # Where the node merely allows fewer channels, retry until one is free.
        if not self._allocator.reduce_limit(pooled, self._use):
            self._unexplained += 1
            if self._unexplained == MAX_CHANNEL_REFUSALS:
                raise fault

    async def pause(self) -> None:
        """Wait before the next attempt."""
        await asyncio.sleep(RETRY_PAUSE * 2**self._unexplained)


@contextlib.asynccontextmanager
async def _channel(
    allocator: ChannelAllocator, deadline: float, limit: float, use: Use
) -> AsyncIterator[PooledConnection]:
    """Hold a channel; raises `_too_late` when none is free by `deadline` (after `limit` s)."""
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            pooled = await allocator.acquire(use)
    except TimeoutError:
        raise _too_late(use, limit) from None
    try:
        yield pooled
    finally:
        allocator.release(pooled, use)


def _too_late(use: Use, limit: float) -> ResopError:
    within = f"became free within {round(limit, 2):g} s"
    if use is Use.STEP:
        return StepTimedOut(f"no connection {within}; the step was not sent", ended=True)
    return ChannelRefused(
        f"no channel {within}: the login node allows no more at once (MaxSessions); nothing was "
        "sent"
    )


def _give_up_at(fault: ResopError, deadline: float, give_up_at: float) -> float:
    """Return until when to look for a durable step after `fault` (time.monotonic).

    Without a runner the step may still run, but a node that refuses durable steps refuses again.
    """
    if isinstance(fault, RunnerUnavailable):
        return min(give_up_at, time.monotonic() + REATTACH_SECONDS)
    return 0.0 if isinstance(fault, DurabilityUnavailable) else deadline + REATTACH_SECONDS


def _not_found(fault: ResopError) -> ContactLost:
    return ContactLost(
        f"contact was lost while the step ran, and it was not found again: {fault.message}"
    )
