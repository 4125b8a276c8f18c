"""Keep the open sessions of a worker, one for each login."""

from __future__ import annotations

import asyncio
import time
from weakref import WeakValueDictionary

from resop.ssh.connection_opener import Connect
from resop.ssh.session import Session

IDLE_SECONDS = 300.0


SWEEP_SECONDS = 30.0


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
