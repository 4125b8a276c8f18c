"""Sessions: the connections held for each user on each cluster, shared by their tasks.

Steps run over one channel with the runner at its other end (`resop/runner.py`). Where there can
be none, each gets an exec channel of its own: at most six on a connection (OpenSSH's MaxSessions
is 10, and it frees a channel only after the client has seen it close); more connections are
opened when steps have to wait. File transfers have connections of their own: they take channels,
and delay no step.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import asyncssh

from resop.channel import ChannelRefused, Raw, run_line
from resop.errors import ClusterUnreachable, ResopError, ServiceFault, StepTimedOut
from resop.limits import OUTPUT_LIMIT
from resop.noise import NOISE_LIMIT, marked, without_noise
from resop.quoting import Program
from resop.remote.runner import AT_ONCE
from resop.runner import Runner

log = logging.getLogger(__name__)

CHANNELS = 6
CONNECTIONS = 8
PATIENCE_SECONDS = 0.2
"""Another connection is opened when steps wait and no channel became free for so long: a
handshake costs more than many short steps."""
IDLE_SECONDS = 300.0
LIFETIME_SECONDS = 3600.0
"""An account that the cluster has locked meanwhile is used no longer than this."""
SWEEP_SECONDS = 30.0
RETRY_SECONDS = 15.0
"""A further connection that failed is not tried again for so long: sshd bans who fails often."""
BREAKDOWNS = 3
WITHOUT_RUNNER_SECONDS = 600.0
"""So long no runner is tried after one could not start, or so many broke down."""
REFUSALS = 6
PAUSE_SECONDS = 0.05

Connect = Callable[[], Awaitable[asyncssh.SSHClientConnection]]


@dataclass(slots=True, eq=False)
class _Line:
    """One connection and how many of its channels, or of its runner's steps, are taken."""

    connection: asyncssh.SSHClientConnection
    runner: Runner | None = None
    used: int = 0
    opened: float = field(default_factory=time.monotonic)
    idle_since: float = field(default_factory=time.monotonic)

    @property
    def stale(self) -> bool:
        old = time.monotonic() - self.opened > LIFETIME_SECONDS
        return self.connection.is_closed() or old or self.broken

    @property
    def broken(self) -> bool:
        """Whether it had a runner that works no more."""
        return self.runner is not None and self.runner.broken

    async def run(
        self,
        line: str,
        stdin: bytes | None,
        limit: float,
        max_output: int,
        program: Program | None,
    ) -> Raw:
        """Run one step, rid of what rc files print before it."""
        runner = self.runner
        if runner is not None and not runner.reads_rc:
            return await runner.run(line, stdin, limit, max_output, program)
        line, mark = marked(line)
        if runner is not None:
            raw = await runner.run(line, stdin, limit, max_output + NOISE_LIMIT, program)
        else:
            raw = await run_line(self.connection, line, stdin, limit, max_output + NOISE_LIMIT)
        return without_noise(raw, mark, max_output)


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
        self._lines: list[_Line] = []
        self._waiters: deque[asyncio.Future[_Line]] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._channels = CHANNELS
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
        line: str,
        stdin: bytes | None,
        limit: float,
        max_output: int = OUTPUT_LIMIT,
        program: Program | None = None,
    ) -> Raw:
        """Run one command line within `limit` seconds, waiting for a free channel included.

        `program` is what it runs where that is one program. Raises what `run_line` raises; a
        refused channel is asked for again, since nothing was sent.
        """
        deadline = time.monotonic() + limit
        refusals = 0
        while True:
            async with self._channel(deadline, limit) as taken:
                try:
                    left = max(0.0, deadline - time.monotonic())
                    return await taken.run(line, stdin, left, max_output, program)
                except ChannelRefused:
                    if taken.used > 1 and not taken.stale and taken.runner is None:
                        # Fewer than six are allowed there: ask again as often as it takes.
                        self._channels = max(1, min(self._channels, taken.used - 1))
                    elif (refusals := refusals + 1) == REFUSALS:
                        raise
            await asyncio.sleep(PAUSE_SECONDS * 2**refusals)

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
    async def _channel(self, deadline: float, limit: float) -> AsyncIterator[_Line]:
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

    def _give_back(self, line: _Line) -> None:
        line.used -= 1
        line.idle_since = self._freed_at = time.monotonic()
        self._hand_out()

    async def _take(self) -> _Line:
        self._drop_stale()
        waiter: asyncio.Future[_Line] = asyncio.get_running_loop().create_future()
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
            self._look_after_waiters()

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
            connection = await self._connect()
            runner = await self._start_runner(connection)
        except ResopError as fault:
            self._not_opened(fault)
        except Exception:
            log.exception("a connection could not be opened: a fault of the service")
            self._not_opened(ServiceFault())
        else:
            connection.set_extra_info(session=self)  # which lives as long; see SessionPool
            opened = math.inf if self._kept else time.monotonic()
            self._lines.append(_Line(connection, runner, opened=opened))
            self._hand_out()

    @property
    def _tries_runner(self) -> bool:
        return self._runner and time.monotonic() >= self._runner_from

    async def _start_runner(self, connection: asyncssh.SSHClientConnection) -> Runner | None:
        if not self._tries_runner:
            return None
        try:
            runner = await Runner.start(connection)
        except asyncio.CancelledError:
            connection.close()
            raise
        if runner is None:
            pause = RETRY_SECONDS if connection.is_closed() else WITHOUT_RUNNER_SECONDS
            self._runner_from = time.monotonic() + pause
        return runner

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
            self._channels = CHANNELS

    def _note_breakdown(self, line: _Line) -> None:
        """Do without a runner for a while when they break down again and again."""
        if line.broken and not line.connection.is_closed():
            self._breakdowns += 1
            if self._breakdowns % BREAKDOWNS == 0:
                self._runner_from = time.monotonic() + WITHOUT_RUNNER_SECONDS

    def _refuse_waiters(self, fault: ResopError) -> None:
        waiters, self._waiters = self._waiters, deque()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(_own(fault))


def _own(fault: ResopError) -> ResopError:
    """A copy: each waiter adds details of its own to the error that it raises."""
    own = copy.copy(fault)
    own.details = dict(fault.details)
    return own


async def _close(lines: list[_Line]) -> None:
    for line in lines:
        line.connection.close()
    for line in lines:
        with contextlib.suppress(OSError, asyncssh.Error):
            await line.connection.wait_closed()


class SessionPool:
    """The sessions of one process, by user and cluster."""

    def __init__(self, *, runner: bool = True) -> None:
        self._runner = runner
        # A session is found here while a task has it or a connection is open: were it forgotten
        # earlier, what a long task opens with it later would never be closed.
        self._sessions: WeakValueDictionary[tuple[str, str], Session] = WeakValueDictionary()
        self._sweeper: asyncio.Task[None] | None = None

    def session(self, username: str, cluster: str, connect: Connect) -> Session:
        """The session of a user on a cluster; `connect` opens its further connections."""
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep())
        session = self._sessions.get((username, cluster))
        if session is None:
            session = Session(connect, runner=self._runner)
            self._sessions[username, cluster] = session
        # The newest login's key opens what is opened from now on: the older one may be revoked.
        session.connect_with(connect)
        return session

    async def close(self) -> None:
        """Close every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        await asyncio.gather(*(session.close() for session in self._sessions.values()))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            before = time.monotonic() - IDLE_SECONDS
            # No variable here holds on to one: it would never be forgotten.
            await asyncio.gather(*(each.close_idle(before) for each in self._sessions.values()))
