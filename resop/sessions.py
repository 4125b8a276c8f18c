"""Sessions: the connections held for each user on each cluster, shared by their tasks.

A connection carries at most six channels (OpenSSH's MaxSessions is 10, and it frees a channel
only after the client has seen it close); more connections are opened when steps have to wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import asyncssh

from resop.channel import ChannelRefused, Raw, run_line
from resop.errors import ResopError, StepTimedOut

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
REFUSALS = 6
PAUSE_SECONDS = 0.05

Connect = Callable[[], Awaitable[asyncssh.SSHClientConnection]]


@dataclass(slots=True, eq=False)
class _Line:
    """One connection and how many of its channels are taken."""

    connection: asyncssh.SSHClientConnection
    limit: int = CHANNELS
    used: int = 0
    opened: float = field(default_factory=time.monotonic)
    idle_since: float = field(default_factory=time.monotonic)

    @property
    def stale(self) -> bool:
        old = time.monotonic() - self.opened > LIFETIME_SECONDS
        return self.connection.is_closed() or old

    @property
    def free(self) -> bool:
        return self.used < self.limit and not self.stale


class Session:
    """All connections of one user on one cluster."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._lines: list[_Line] = []
        self._waiters: deque[asyncio.Future[_Line]] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._freed_at = 0.0
        self._waiting_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connect_with(self, connect: Connect) -> None:
        """Open further connections with `connect`."""
        self._connect = connect

    async def run(self, line: str, stdin: bytes | None, limit: float) -> Raw:
        """Run one command line within `limit` seconds, waiting for a free channel included.

        Raises what `run_line` raises; a refused channel is asked for again, since nothing was
        sent.
        """
        deadline = time.monotonic() + limit
        for attempt in range(REFUSALS):
            left = deadline - time.monotonic()
            async with self._channel(left) as taken:
                try:
                    return await run_line(
                        taken.connection, line, stdin, max(0.0, deadline - time.monotonic())
                    )
                except ChannelRefused:
                    # Fewer than six are allowed there, or one is not yet freed.
                    taken.limit = max(1, taken.used - 1)
                    if attempt == REFUSALS - 1:
                        raise
            await asyncio.sleep(PAUSE_SECONDS * 2**attempt)
        raise AssertionError("unreachable")

    @contextlib.asynccontextmanager
    async def connection(self, limit: float) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """A connection with one of its channels reserved, for file transfer."""
        async with self._channel(limit) as taken:
            yield taken.connection

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._lines)

    def idle(self, before: float) -> bool:
        """Whether nothing has run since that moment (of time.monotonic)."""
        return not self._waiters and all(
            line.used == 0 and line.idle_since < before for line in self._lines
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._opening:
            task.cancel()
        lines, self._lines = self._lines, []
        for line in lines:
            line.connection.close()
        for line in lines:
            with contextlib.suppress(OSError, asyncssh.Error):
                await line.connection.wait_closed()

    @contextlib.asynccontextmanager
    async def _channel(self, limit: float) -> AsyncIterator[_Line]:
        try:
            async with asyncio.timeout(max(0.0, limit)):
                line = await self._take()
        except TimeoutError:
            raise StepTimedOut(
                f"no connection became free within {limit:g} s; the step was not sent", ended=True
            ) from None
        try:
            yield line
        finally:
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
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                waiter.result().used -= 1
                self._hand_out()
            raise

    def _look_after_waiters(self) -> None:
        """Open a further connection, now or when nothing has moved for a while."""
        self._timer = None
        if not self._waiters:
            return
        moved = max(self._freed_at, self._waiting_since)
        patience = moved + PATIENCE_SECONDS - time.monotonic()
        if all(line.stale for line in self._lines) or patience <= 0:
            self._grow()
            patience = PATIENCE_SECONDS
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(patience, self._look_after_waiters)

    def _hand_out(self) -> None:
        """Give free channels to those who wait, first come first served."""
        free = [line for line in self._lines if line.free]
        while self._waiters and free:
            waiter = self._waiters.popleft()
            if waiter.done():
                continue
            free[0].used += 1
            waiter.set_result(free[0])
            if not free[0].free:
                free.pop(0)
        if self._waiters and (self._timer is None or not self._lines):
            self._look_after_waiters()

    def _grow(self) -> None:
        """Open one more connection if steps wait and none is on its way for them."""
        waiting = sum(not waiter.done() for waiter in self._waiters)
        coming = len(self._opening) * CHANNELS
        if waiting > coming and len(self._lines) + len(self._opening) < CONNECTIONS:
            task = asyncio.create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        try:
            connection = await self._connect()
        except ResopError as fault:
            self._drop_stale()
            if self._lines:
                log.warning("no further connection: %s", fault.message)
            else:
                self._refuse_waiters(fault)
            return
        self._lines.append(_Line(connection))
        self._hand_out()

    def _drop_stale(self) -> None:
        for line in self._lines:
            if line.stale and line.used == 0:
                line.connection.close()
        self._lines = [line for line in self._lines if not line.stale or line.used]

    def _refuse_waiters(self, fault: ResopError) -> None:
        waiters, self._waiters = self._waiters, deque()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(fault)


class SessionPool:
    """The sessions of one process, by user and cluster."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[str, str], Session] = {}
        self._sweeper: asyncio.Task[None] | None = None

    def session(self, username: str, cluster: str, connect: Connect) -> Session:
        """The session of a user on a cluster; `connect` opens its further connections."""
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep())
        session = self._sessions.setdefault((username, cluster), Session(connect))
        # The newest login's key opens what is opened from now on: the older one may be revoked.
        session.connect_with(connect)
        return session

    async def close(self) -> None:
        """Close every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        sessions, self._sessions = self._sessions, {}
        await asyncio.gather(*(session.close() for session in sessions.values()))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            before = time.monotonic() - IDLE_SECONDS
            for key, session in list(self._sessions.items()):
                if session.idle(before):
                    del self._sessions[key]
                    await session.close()
