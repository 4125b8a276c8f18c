"""Sessions: the connections held for each user on each cluster, shared by their tasks.

Steps run over one channel with the runner at its other end (`resop/ssh/runner/client.py`). Where
there can be none, each gets an exec channel of its own: at most six on a connection (OpenSSH's
MaxSessions is 10, and it frees a channel only after the client has seen it close); more
connections are opened when steps have to wait. File transfers have connections of their own: they
take channels, and delay no step.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

import asyncssh

from resop.errors import (
    AccessError,
    ClusterUnreachable,
    ContactLost,
    HostKeyMismatch,
    ResopError,
    ServiceFault,
    StepTimedOut,
    TaskCancelled,
)
from resop.ssh.exec_channel import ChannelRefused, await_uninterrupted, cancelled, run_command_line
from resop.ssh.runner.client import Runner
from resop.ssh.runner.durable_step import (
    DurabilityUnavailable,
    DurableStep,
    NeverStarted,
    RunnerUnavailable,
)
from resop.ssh.runner.remote.main import AT_ONCE
from resop.steps.output import (
    NOISE_LIMIT,
    NoiseFilter,
    OutputCallback,
    RawResult,
    with_mark,
    without_noise,
)
from resop.steps.step import StepRequest

log = logging.getLogger(__name__)

CHANNELS = 6
CONNECTIONS = 8
FEWER_SECONDS = 60.0
"""So long no more channels are asked for than a login node has allowed: those of steps that were
cancelled may just not have been closed yet."""
PATIENCE_SECONDS = 0.2
"""Another connection is opened when steps wait and no channel became free for so long: a
handshake costs more than many short steps."""
LIFETIME_SECONDS = 3600.0
"""An account that the cluster has locked meanwhile is used no longer than this."""
RETRY_SECONDS = 15.0
"""A further connection that failed is not tried again for so long: sshd bans who fails often."""
BREAKDOWNS = 3
BREAK_SECONDS = 0.25
"""So much later than its channel's end that of a connection may be seen."""
BREAKS = 3
"""After so many connections in a row that broke while a runner started, one is used without."""
WITHOUT_RUNNER_SECONDS = 600.0
"""So long no runner is tried after one could not start, or so many broke down."""
REFUSALS = 6
PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 15.0
FORGOTTEN = 200
"""So many steps that survived are remembered, to be forgotten on the node for certain."""
FIND_SECONDS = 30.0
"""A step that survives is looked for so much longer than its time, and so long without a runner."""

Connect = Callable[[], Awaitable[asyncssh.SSHClientConnection]]

_PASSING = (ContactLost, ClusterUnreachable, StepTimedOut)
"""After these a step that survives may be found over another connection."""


@dataclass(slots=True, eq=False)
class _PooledConnection:
    """One connection and how many of its channels, or of its runner's steps, are taken."""

    connection: asyncssh.SSHClientConnection
    runner: Runner | None = None
    used: int = 0
    until: float = math.inf
    """When it is too old to be used (time.monotonic)."""
    idle_since: float = field(default_factory=time.monotonic)

    @property
    def stale(self) -> bool:
        return self.connection.is_closed() or time.monotonic() > self.until or self.broken

    @property
    def broken(self) -> bool:
        """Whether it had a runner that works no more."""
        return self.runner is not None and self.runner.broken

    async def run(
        self,
        step: StepRequest,
        limit: float,
        heard: OutputCallback | None,
        keep: DurableStep | None,
    ) -> RawResult:
        """Run one step, rid of what rc files print before it."""
        runner = self.runner
        if keep is not None:
            return await self._run_durable(step, limit, heard, keep)
        if runner is not None and not runner.reads_rc:
            return await runner.run(step, limit, heard)
        line, mark = with_mark(step.line)
        after = NoiseFilter(mark, step.max_output, heard) if heard else None
        with_noise = replace(step, line=line, max_output=step.max_output + NOISE_LIMIT)
        if runner is not None:
            raw = await runner.run(with_noise, limit, after)
        else:
            most = with_noise.max_output
            raw = await run_command_line(self.connection, line, step.input, limit, most, after)
        if after is not None:
            after.finish()
        return without_noise(raw, mark, step.max_output)

    async def _run_durable(
        self, step: StepRequest, limit: float, heard: OutputCallback | None, keep: DurableStep
    ) -> RawResult:
        """The same for a step that survives: its mark is known to whoever finds it."""
        if self.runner is None:
            raise RunnerUnavailable("there is no runner on the login node; nothing was sent")
        line, mark = with_mark(step.line, keep.step_id)
        with_noise = replace(step, max_output=step.max_output + NOISE_LIMIT)
        if self.runner.reads_rc:
            with_noise = replace(with_noise, line=line)
            if heard is not None and keep.noise_filter is None:
                keep.noise_filter = NoiseFilter(mark, step.max_output, heard)
            heard = keep.noise_filter
        raw = await self.runner.run(with_noise, limit, heard, keep)
        if keep.noise_filter is not None:
            keep.noise_filter.finish()
        return without_noise(raw, mark, step.max_output)


class Session:
    """All connections of one user on one cluster."""

    def __init__(self, connect: Connect, *, runner: bool = True, kept: bool = False) -> None:
        """`kept`: there is one connection, which is never closed for its age or idleness."""
        self._connect = connect
        self._runner = runner
        self._kept = kept
        self._runner_from = 0.0
        self._breakdowns = 0
        self._transfers = Session(connect, runner=False) if runner and not kept else None
        self._lines: list[_PooledConnection] = []
        self._waiters: deque[asyncio.Future[_PooledConnection]] = deque()
        self._forgotten: deque[DurableStep] = deque(maxlen=FORGOTTEN)
        self._opening: set[asyncio.Task[None]] = set()
        self._allowed = CHANNELS
        self._allowed_until = 0.0
        self._retry_at = 0.0
        self._freed_at = 0.0
        self._waiting_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connect_with(self, connect: Connect) -> None:
        """Open further connections with `connect`."""
        self._connect = connect
        if self._transfers is not None:
            self._transfers.connect_with(connect)

    async def run(
        self,
        step: StepRequest,
        limit: float,
        heard: OutputCallback | None = None,
        keep: DurableStep | None = None,
    ) -> RawResult:
        """Run one step within `limit` seconds, waiting for a free channel included.

        `heard` is told what it prints, in the order in which that arrives. Raises what `run_line`
        raises; a refused channel is asked for again, since nothing was sent. With `keep` it raises
        as `Runner.run` does; `run_kept` does better.
        """
        deadline = time.monotonic() + limit
        refusals = 0
        while True:
            async with self._channel(deadline, limit) as taken:
                try:
                    left = max(0.0, deadline - time.monotonic())
                    return await taken.run(step, left, heard, keep)
                except ChannelRefused:
                    if taken.used > 1 and not taken.stale and taken.runner is None:
                        # Fewer than six are allowed there: ask again as often as it takes.
                        self._allowed = max(1, min(self._channels, taken.used - 1))
                        self._allowed_until = time.monotonic() + FEWER_SECONDS
                    elif (refusals := refusals + 1) == REFUSALS:
                        raise
            await asyncio.sleep(PAUSE_SECONDS * 2**refusals)

    async def run_durable(
        self,
        step: StepRequest,
        limit: float,
        keep: DurableStep,
        heard: OutputCallback | None = None,
    ) -> RawResult:
        """Run a step that outlives connections: when one breaks it is found again over another.

        So long as nothing was sent it raises as `run` does, and NotKept when the login node
        keeps no steps; later ContactLost, when no connection could be had until its time was over.
        """
        deadline = time.monotonic() + limit
        hopeless = deadline + FIND_SECONDS
        pause = PAUSE_SECONDS
        try:
            while True:
                left = deadline - time.monotonic()
                if left <= 0:  # too late to start it
                    if not keep.may_be_started:
                        raise NeverStarted()
                    keep.attach_only()
                    left = FIND_SECONDS
                try:
                    return await self.run(step, left, heard, keep)
                except _PASSING as fault:
                    if keep.is_done or not keep.may_be_started:
                        raise
                    pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                    # While there is no runner it may still run; what the node itself refuses to
                    # keep it refuses again.
                    if isinstance(fault, RunnerUnavailable):
                        hopeless = min(hopeless, time.monotonic() + FIND_SECONDS)
                    else:
                        hopeless = (
                            0.0
                            if isinstance(fault, DurabilityUnavailable)
                            else deadline + FIND_SECONDS
                        )
                    if time.monotonic() + pause > hopeless:
                        raise _not_found(fault) from fault
                    log.info("a step that survives is looked for again: %s", fault.message)
                except (AccessError, HostKeyMismatch) as fault:
                    raise _not_found(fault) if keep.may_be_started else fault from None
                await asyncio.sleep(pause)
        except asyncio.CancelledError:
            if keep.handed_off or not keep.may_be_started:
                raise
            # There was no connection over which to end it.
            raise cancelled(await await_uninterrupted(self._is_ended(keep))) from None
        except NeverStarted:
            if time.monotonic() < deadline:
                raise
            raise StepTimedOut("the step's time was over before it was sent", ended=True) from None

    async def end_durable(self, keep: DurableStep) -> RawResult:
        """Find a step that survives and end it: TaskCancelled, or how it has ended by itself.

        Raises NeverBegan where it was not started; now it never will be.
        """
        keep.end()
        return await self.run(StepRequest("", ""), FIND_SECONDS, keep=keep)

    async def _is_ended(self, keep: DurableStep) -> bool:
        try:
            await self.end_durable(keep)
        except TaskCancelled as fault:
            return bool(fault.details["ended"])
        except NeverStarted:
            return True
        except ResopError:
            return keep.is_done
        return True

    def forget(self, keep: DurableStep) -> None:
        """Have the node remove what it keeps of a step; else it does so by itself in a day.

        It is told again over the next connection: this one may be about to break.
        """
        self._forgotten.append(keep)
        for line in self._lines:
            if line.runner is not None and not line.stale:
                line.runner.forget(keep)
                return

    @contextlib.asynccontextmanager
    async def connection(self, limit: float) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """A connection with one of its channels reserved, for file transfer."""
        lines = self._transfers or self
        async with lines._channel(time.monotonic() + limit, limit) as taken:
            taken.connection.set_extra_info(owner=self)  # which closes it when it is idle
            yield taken.connection

    @property
    def connections(self) -> int:
        """How many connections are open."""
        of_transfers = self._transfers.connections if self._transfers is not None else 0
        return len(self._lines) + of_transfers

    @property
    def _channels(self) -> int:
        """How many one connection without a runner may have at present."""
        return self._allowed if time.monotonic() < self._allowed_until else CHANNELS

    async def close_idle(self, before: float) -> None:
        """Close the connections over which nothing has run since `before` (time.monotonic)."""
        idle = [line for line in self._lines if not line.used and line.idle_since < before]
        self._lines = [line for line in self._lines if line not in idle]
        self._drop_stale()
        await _close(idle)
        if self._transfers is not None:
            await self._transfers.close_idle(before)

    async def close(self) -> None:
        """Close all connections; who waits for one is told."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._opening:
            task.cancel()
        self._refuse_waiters(ClusterUnreachable("the session was closed; the step was not sent"))
        lines, self._lines = self._lines, []
        await _close(lines)
        if self._transfers is not None:
            await self._transfers.close()

    @contextlib.asynccontextmanager
    async def _channel(self, deadline: float, limit: float) -> AsyncIterator[_PooledConnection]:
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                line = await self._take()
        except TimeoutError:
            raise StepTimedOut(
                f"no connection became free within {round(limit, 2):g} s; the step was not sent",
                ended=True,
            ) from None
        try:
            yield line
        finally:
            self._give_back(line)

    def _give_back(self, line: _PooledConnection) -> None:
        line.used -= 1
        line.idle_since = self._freed_at = time.monotonic()
        self._hand_out()

    async def _take(self) -> _PooledConnection:
        self._drop_stale()
        waiter: asyncio.Future[_PooledConnection] = asyncio.get_running_loop().create_future()
        if not self._waiters:
            self._waiting_since = time.monotonic()
        self._waiters.append(waiter)
        self._hand_out()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif not waiter.cancelled() and waiter.exception() is None:
                self._give_back(waiter.result())
            raise

    def _hand_out(self) -> None:
        """Give free channels to those who wait, first come first served."""
        for line in self._lines:
            room = line.runner.at_once if line.runner else self._channels
            while self._waiters and line.used < room and not line.stale:
                waiter = self._waiters.popleft()
                if not waiter.done():
                    line.used += 1
                    waiter.set_result(line)
        if self._waiters:
            self._look_after_waiters()

    def _look_after_waiters(self) -> None:
        """Open a further connection, now or when nothing has moved for a while."""
        if not self._usable() and not self._opening:
            self._grow()
        if self._timer is None:
            moved = max(self._freed_at, self._waiting_since)
            patience = max(0.0, moved + PATIENCE_SECONDS - time.monotonic())
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(patience or PATIENCE_SECONDS, self._lose_patience)

    def _lose_patience(self) -> None:
        self._timer = None
        moved = max(self._freed_at, self._waiting_since)
        if self._waiters:
            if time.monotonic() >= moved + PATIENCE_SECONDS:
                self._grow()
            self._hand_out()  # more may be allowed by now

    def _usable(self) -> bool:
        return any(not line.stale for line in self._lines)

    def _grow(self) -> None:
        """Open one more connection if steps wait and none is on its way for them."""
        self._drop_stale()  # which else would take the room of another
        coming = len(self._opening) * (AT_ONCE if self._tries_runner else self._channels)
        room = len(self._lines) + len(self._opening) < (1 if self._kept else CONNECTIONS)
        patient = self._usable() and time.monotonic() < self._retry_at
        if len(self._waiters) > coming and room and not patient:
            task = asyncio.create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        try:
            connection, runner = await self._with_runner()
        except ResopError as fault:
            self._not_opened(fault)
        except Exception:
            log.exception("a connection could not be opened: a fault of the service")
            self._not_opened(ServiceFault())
        else:
            connection.set_extra_info(session=self)  # which lives as long; see SessionPool
            self._lines.append(
                _PooledConnection(connection, runner, until=self._good_until(runner))
            )
            if runner is not None:
                for keep in self._forgotten:
                    runner.forget(keep)
            self._hand_out()

    def _good_until(self, runner: Runner | None) -> float:
        """When a connection is to be replaced, be it by one that has a runner again."""
        if self._kept:
            return math.inf
        old = time.monotonic() + LIFETIME_SECONDS
        return old if runner is not None or not self._runner else min(old, self._runner_from)

    @property
    def _tries_runner(self) -> bool:
        return self._runner and time.monotonic() >= self._runner_from

    async def _with_runner(self) -> tuple[asyncssh.SSHClientConnection, Runner | None]:
        """A connection, and the runner on it; None where there is to be none for a while.

        One that breaks while its runner starts says nothing of runners, unless BREAKS of them do.
        """
        for _ in range(BREAKS):
            connection = await self._connect()
            if not self._tries_runner:
                return connection, None
            try:
                runner = await Runner.start(connection)
                if runner is not None:
                    return connection, runner
                if not await _breaks(connection):
                    self._runner_from = time.monotonic() + WITHOUT_RUNNER_SECONDS
                    return connection, None
            except asyncio.CancelledError:
                connection.close()
                raise
        self._runner_from = time.monotonic() + RETRY_SECONDS
        return await self._connect(), None

    def _not_opened(self, fault: ResopError) -> None:
        self._drop_stale()
        if self._usable():
            self._retry_at = time.monotonic() + RETRY_SECONDS
            log.warning("no further connection: %s", fault.message)
        else:
            self._refuse_waiters(fault)

    def _drop_stale(self) -> None:
        for line in self._lines:
            if self._kept and line.broken and line.used == 0:
                line.runner = None  # the connection is all there is: go on over exec channels
            if line.stale and line.used == 0:
                self._note_breakdown(line)
                line.connection.close()
        self._lines = [line for line in self._lines if not line.stale or line.used]
        if not self._lines:
            self._allowed_until = 0.0

    def _note_breakdown(self, line: _PooledConnection) -> None:
        """Do without a runner for a while when they break down again and again."""
        if line.broken and not line.connection.is_closed():
            self._breakdowns += 1
            if self._breakdowns % BREAKDOWNS == 0:
                self._runner_from = time.monotonic() + WITHOUT_RUNNER_SECONDS

    def _refuse_waiters(self, fault: ResopError) -> None:
        waiters, self._waiters = self._waiters, deque()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(fault.own())


def _not_found(fault: ResopError) -> ContactLost:
    said = f"contact was lost while the step ran, and it was not found again: {fault.message}"
    return ContactLost(said)


async def _breaks(connection: asyncssh.SSHClientConnection) -> bool:
    """Whether it is its connection that has ended, not one channel of it alone."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(connection.wait_closed(), BREAK_SECONDS)
    return connection.is_closed()


async def _close(lines: list[_PooledConnection]) -> None:
    await asyncio.gather(*(line.runner.close() for line in lines if line.runner is not None))
    for line in lines:
        line.connection.close()
    for line in lines:
        with contextlib.suppress(OSError, asyncssh.Error):
            await line.connection.wait_closed()
