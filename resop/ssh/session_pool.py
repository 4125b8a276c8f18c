"""Hold the sessions of a process, one for each user on each cluster."""

from __future__ import annotations

import asyncio
import time
from weakref import WeakValueDictionary

from resop.ssh.connection_opener import Connect
from resop.ssh.session import Session

IDLE_SECONDS = 300.0
"""How long a connection stays open without a step."""
SWEEP_SECONDS = 30.0
"""The interval between two searches for idle connections."""


_Key = tuple[str, str, int | None]
"""User name, cluster and the account's number."""


class SessionPool:
    """The sessions of one process, by user and cluster."""

    def __init__(self, *, runner: bool = True) -> None:
        self._runner = runner
        # A session is found here while a task refers to it or one of its connections is open. If
        # it were dropped earlier, connections that a long task opens later would never be closed.
        self._sessions: WeakValueDictionary[_Key, Session] = WeakValueDictionary()
        self._sweeper: asyncio.Task[None] | None = None

    def session(
        self, username: str, cluster: str, connect: Connect, uid: int | None = None
    ) -> Session:
        """Return the session of a user on a cluster, which opens connections with `connect`.

        The same name with another number is another user.
        """
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep())
        key = username, cluster, uid
        session = self._sessions.get(key)
        if session is None:
            session = Session(connect, runner=self._runner)
            self._sessions[key] = session
        # Open further connections with the newest login's key: an older one may be revoked.
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
            # No local variable may refer to a session: it would never be dropped.
            await asyncio.gather(*(each.close_idle(before) for each in self._sessions.values()))
