"""Open the connections of a session, each with a runner where the login node has one."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable

import asyncssh

from resop.ssh.pooled_connection import PooledConnection
from resop.ssh.runner.client import RunnerClient

CONNECTION_LIFETIME = 3600.0
"""Seconds until a connection is replaced, so that an account locked meanwhile is used no longer."""
MAX_DROPPED_CONNECTIONS = 3
"""After this many connections in a row that broke while a runner started, use one without."""
DROP_DETECTION_DELAY = 0.25
"""How many seconds after its channel closed a broken connection may take to be detected."""
DROPPED_RETRY_DELAY = 15.0
"""Seconds without a runner after MAX_DROPPED_CONNECTIONS."""
MAX_RUNNER_CRASHES = 3
RUNNER_RETRY_DELAY = 600.0
"""Seconds without a runner after one could not start, or MAX_RUNNER_CRASHES crashed."""

Connect = Callable[[], Awaitable[asyncssh.SSHClientConnection]]


class ConnectionOpener:
    """Opens a session's connections, and decides whether each of them gets a runner."""

    def __init__(self, connect: Connect, *, use_runner: bool, held: bool = False) -> None:
        """`held`: the session has one connection, which never expires."""
        self.connect = connect
        self.held = held
        self._use_runner = use_runner
        self.runner_retry_at = 0.0
        """Until then no runner is started (time.monotonic)."""
        self._crashes = 0

    @property
    def expects_runner(self) -> bool:
        """True if the next connection gets a runner, provided that the node can run one."""
        return self._use_runner and time.monotonic() >= self.runner_retry_at

    async def open(self) -> PooledConnection:
        """Open a connection; raises what `connect` raises."""
        connection, runner = await self._connect_with_runner()
        return PooledConnection(connection, runner, expires_at=self._expires_at(runner))

    def note_runner_crash(self) -> None:
        """Count a crash: after MAX_RUNNER_CRASHES do without runners for a while."""
        self._crashes += 1
        if self._crashes % MAX_RUNNER_CRASHES == 0:
            self.runner_retry_at = time.monotonic() + RUNNER_RETRY_DELAY

    async def _connect_with_runner(
        self,
    ) -> tuple[asyncssh.SSHClientConnection, RunnerClient | None]:
        """Connect and start a runner; None in place of a runner that cannot be had for a while.

        A connection that breaks while its runner starts is no evidence against the runner, unless
        MAX_DROPPED_CONNECTIONS do.
        """
        for _ in range(MAX_DROPPED_CONNECTIONS):
            connection = await self.connect()
            if not self.expects_runner:
                return connection, None
            try:
                runner = await RunnerClient.start(connection)
                if runner is not None:
                    return connection, runner
                if not await _is_dropped(connection):
                    self.runner_retry_at = time.monotonic() + RUNNER_RETRY_DELAY
                    return connection, None
            except asyncio.CancelledError:
                connection.close()
                raise
        self.runner_retry_at = time.monotonic() + DROPPED_RETRY_DELAY
        return await self.connect(), None

    def _expires_at(self, runner: RunnerClient | None) -> float:
        """Return when to replace a connection; one without a runner as soon as one is expected."""
        if self.held:
            return math.inf
        expires_at = time.monotonic() + CONNECTION_LIFETIME
        if runner is not None or not self._use_runner:
            return expires_at
        return min(expires_at, self.runner_retry_at)


async def _is_dropped(connection: asyncssh.SSHClientConnection) -> bool:
    """Return whether the connection has ended, and not just one of its channels."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DROP_DETECTION_DELAY):
            await connection.wait_closed()
    return connection.is_closed()
