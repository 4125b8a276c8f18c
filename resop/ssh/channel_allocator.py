"""Hand out the channels of a session's connections to its steps and file transfers.

First come, first served; further connections are opened while any wait. A step needs no channel of
its own where a runner runs it, and an exec channel elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import asyncssh

from resop.errors import ClusterUnreachable, ResopError, ServiceFault
from resop.ssh.connection_opener import ConnectionOpener
from resop.ssh.pooled_connection import PooledConnection, Use
from resop.ssh.runner.remote.protocol import MAX_STEPS

log = logging.getLogger(__name__)

MAX_CHANNELS = 6
"""Exec channels on one connection: OpenSSH's MaxSessions is 10, and it frees a channel only after
the client has seen it close."""
MAX_CONNECTIONS = 8
CHANNEL_LIMIT_TTL = 60.0
"""Seconds to keep the reduced channel limit after a refused channel: sshd may not have closed the
channels of cancelled steps yet."""
WAIT_TIMEOUT = 0.2
"""Seconds without a free channel until another connection is opened: a handshake costs more than
many short steps."""
RECONNECT_DELAY = 15.0
"""Seconds between attempts at a further connection: sshd bans clients that fail often."""


@dataclass(slots=True, eq=False)
class _Waiter:
    number: int
    use: Use
    granted: asyncio.Future[PooledConnection]


class ChannelAllocator:
    """The channels of several connections of one user on one cluster."""

    def __init__(
        self, opener: ConnectionOpener, on_open: Callable[[PooledConnection], None]
    ) -> None:
        """`on_open` is called with each connection before its first step."""
        self.opener = opener
        self._on_open = on_open
        self.connections: list[PooledConnection] = []
        self._waiting: dict[Use, deque[_Waiter]] = {use: deque() for use in Use}
        self._numbers = itertools.count()
        self._opening: set[asyncio.Task[None]] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        """Connections being opened that are not to be used."""
        self._closing: set[asyncio.Task[None]] = set()
        self._reduced_limit = MAX_CHANNELS
        self._reduced_until = 0.0
        self._reconnect_at = 0.0
        self._released_at = 0.0
        self._waiting_since = 0.0
        self.timer: asyncio.TimerHandle | None = None

    @property
    def channel_limit(self) -> int:
        """The number of exec channels that a connection without a runner may have now."""
        return self._reduced_limit if time.monotonic() < self._reduced_until else MAX_CHANNELS

    @property
    def waiting(self) -> int:
        """The number of steps and transfers that wait."""
        return sum(map(len, self._waiting.values()))

    @property
    def has_spare_channel(self) -> bool:
        """True if a step can run although a transfer has a channel."""
        return not (self.opener.held and any(each.single_channel for each in self.connections))

    @property
    def has_runner(self) -> bool:
        """True if steps need no channels, since a runner runs them."""
        return any(each.runner is not None for each in self.connections)

    async def acquire(self, use: Use = Use.STEP) -> PooledConnection:
        """Wait for a channel; `release` it. Raises the error of the connection that failed."""
        self._drop_stale()
        granted: asyncio.Future[PooledConnection] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(next(self._numbers), use, granted)
        if not self.waiting:
            self._waiting_since = time.monotonic()
        self._waiting[use].append(waiter)
        self._dispatch()
        try:
            return await granted
        except asyncio.CancelledError:
            if waiter in self._waiting[use]:
                self._waiting[use].remove(waiter)
            elif not granted.cancelled() and granted.exception() is None:
                self.release(granted.result(), use)
            raise

    def release(self, pooled: PooledConnection, use: Use = Use.STEP) -> None:
        """Return a channel."""
        pooled.count(use, -1)
        pooled.idle_since = self._released_at = time.monotonic()
        if pooled.retired:
            self._drop_stale()
        self._end_runner(pooled)
        self._dispatch()

    def reduce_limit(self, refusing: PooledConnection, use: Use = Use.STEP) -> bool:
        """Expect fewer channels for a while, since the login node refused one for this use.

        Returns False where that is no explanation: no other channel of the connection was open.
        """
        needs_channel = use is Use.TRANSFER or refusing.runner is None
        if not needs_channel or refusing.channels <= 1 or refusing.is_stale:
            return False
        self._reduced_limit = max(1, min(self.channel_limit, refusing.channels - 1))
        self._reduced_until = time.monotonic() + CHANNEL_LIMIT_TTL
        refusing.single_channel = self._reduced_limit == 1
        self._end_runner(refusing)
        return True

    async def close_idle(self, before: float) -> None:
        """Close the connections over which nothing has run since `before` (time.monotonic)."""
        idle = [each for each in self.connections if not each.is_busy and each.idle_since < before]
        self.connections = [each for each in self.connections if each not in idle]
        self._drop_stale()
        await _close(idle)

    async def retire(self) -> None:
        """Close the connections: at once where nothing runs, else when nothing runs any more."""
        for pooled in self.connections:
            pooled.retired = pooled.is_busy
        self._retiring |= self._opening
        await self.close_idle(time.monotonic())

    async def close(self) -> None:
        """Close all connections; raise ClusterUnreachable in all waiters."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        for task in self._opening:
            task.cancel()
        self._refuse_waiters(ClusterUnreachable("the session was closed; the step was not sent"))
        connections, self.connections = self.connections, []
        await _close(connections)

    def _dispatch(self) -> None:
        """Hand free channels to the waiters, first come first served."""
        for pooled in self.connections:
            while (use := self._next_use(pooled)) is not None:
                waiter = self._waiting[use].popleft()
                if not waiter.granted.done():
                    pooled.count(use, 1)
                    waiter.granted.set_result(pooled)
        if self.waiting:
            self._watch_waiters()

    def _next_use(self, pooled: PooledConnection) -> Use | None:
        """Return what the connection can be used for now by the one that has waited longest."""
        limit = self.channel_limit
        possible = [
            use
            for use, waiters in self._waiting.items()
            if waiters and pooled.has_room(use, limit) and self._may_begin(use)
        ]
        return min(possible, key=lambda use: self._waiting[use][0].number, default=None)

    def _may_begin(self, use: Use) -> bool:
        """Return False if transfers would take the last channel: some wait for a step."""
        if use is Use.STEP or self.has_runner:
            return True
        transfers = sum(each.transfers for each in self.connections)
        if self.opener.held:
            return transfers == 0
        return transfers < max(1, MAX_CONNECTIONS * self.channel_limit - 1)

    def _end_runner(self, pooled: PooledConnection) -> None:
        """End a runner that has the only channel of its connection, once it runs no step."""
        runner = pooled.runner
        if pooled.single_channel and runner is not None and not pooled.in_use:
            pooled.runner = None
            ending = asyncio.create_task(runner.close())
            self._closing.add(ending)
            ending.add_done_callback(self._closing.discard)
            log.info("the login node allows one channel: it is shared by steps and transfers")

    def _watch_waiters(self) -> None:
        """Open another connection, now or when no channel was released for a while."""
        if not _any_usable(self.connections) and not self._opening:
            self._open_another()
        if self.timer is None:
            last_progress = max(self._released_at, self._waiting_since)
            delay = max(0.0, last_progress + WAIT_TIMEOUT - time.monotonic())
            loop = asyncio.get_running_loop()
            self.timer = loop.call_later(delay or WAIT_TIMEOUT, self._on_wait_timeout)

    def _on_wait_timeout(self) -> None:
        self.timer = None
        last_progress = max(self._released_at, self._waiting_since)
        if self.waiting:
            if time.monotonic() >= last_progress + WAIT_TIMEOUT:
                self._open_another()
            self._dispatch()  # the channel limit may have been raised meanwhile

    def _open_another(self) -> None:
        """Open a connection, unless the ones being opened are enough for all waiters."""
        self._drop_stale()  # a stale connection would count against MAX_CONNECTIONS
        capacity = MAX_STEPS if self.opener.expects_runner else self.channel_limit
        expected = len(self._opening) * capacity
        limit = 1 if self.opener.held else MAX_CONNECTIONS
        may_open = len(self.connections) + len(self._opening) < limit
        must_pause = _any_usable(self.connections) and time.monotonic() < self._reconnect_at
        if self.waiting > expected and may_open and not must_pause:
            task = asyncio.create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
            task.add_done_callback(self._retiring.discard)

    async def _open(self) -> None:
        try:
            pooled = await self.opener.open()
        except ResopError as fault:
            self._on_open_failed(fault)
        except Exception:
            log.exception("a connection could not be opened: a fault of the service")
            self._on_open_failed(ServiceFault())
        else:
            pooled.retired = asyncio.current_task() in self._retiring
            self.connections.append(pooled)
            self._on_open(pooled)
            self._drop_stale()
            self._dispatch()

    def _on_open_failed(self, fault: ResopError) -> None:
        self._drop_stale()
        if _any_usable(self.connections):
            self._reconnect_at = time.monotonic() + RECONNECT_DELAY
            log.warning("no further connection could be opened: %s", fault.message)
        else:
            self._refuse_waiters(fault)

    def _drop_stale(self) -> None:
        for pooled in self.connections:
            if self.opener.held and pooled.runner_crashed and not pooled.in_use:
                pooled.runner = None  # no other connection can be opened: use exec channels
            if pooled.is_stale and not pooled.is_busy:
                if pooled.has_runner_fault:
                    self.opener.note_runner_crash()
                pooled.connection.close()
        self.connections = [each for each in self.connections if not each.is_stale or each.is_busy]
        if not self.connections:
            self._reduced_until = 0.0

    def _refuse_waiters(self, fault: ResopError) -> None:
        for waiters in self._waiting.values():
            while waiters:
                waiter = waiters.popleft()
                if not waiter.granted.done():
                    waiter.granted.set_exception(fault.copy())


def _any_usable(connections: Sequence[PooledConnection]) -> bool:
    return any(not each.is_stale for each in connections)


async def _close(connections: Sequence[PooledConnection]) -> None:
    runners = [each.runner for each in connections if each.runner is not None]
    await asyncio.gather(*(runner.close() for runner in runners))
    for pooled in connections:
        pooled.connection.close()
    for pooled in connections:
        with contextlib.suppress(OSError, asyncssh.Error):
            await pooled.connection.wait_closed()
