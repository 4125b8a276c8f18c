"""The way from a login to its user's session: its key is unsealed when a connection is opened."""

from __future__ import annotations

import asyncio

import asyncssh

from resop.errors import KeyRefused
from resop.records import Records
from resop.sessions import Session, SessionPool
from resop.settings import Settings
from resop.ssh import Connector
from resop.tokens import Sealer


class Access:
    """The sessions of one process."""

    def __init__(
        self,
        settings: Settings,
        records: Records,
        sealer: Sealer,
        connector: Connector,
        *,
        runner: bool,
    ) -> None:
        """`runner`: whether steps are to run; without, there are sessions for transfers alone."""
        self._settings = settings
        self._records = records
        self._sealer = sealer
        self._connector = connector
        self._pool = SessionPool(runner=runner)

    def session(self, username: str, cluster: str, credential: str, half: str) -> Session:
        """The session of a login; `half` is what its token holds of the seal of its key."""
        target = self._settings.cluster(cluster)

        async def connect() -> asyncssh.SSHClientConnection:
            found = await asyncio.to_thread(self._records.credential, credential)
            if found is None or found.sealed_key is None:
                raise KeyRefused("this login has ended: log in again")
            key = self._sealer.unseal_key(found.sealed_key, found.id, half)
            return await self._connector.with_key(target, username, key)

        return self._pool.session(username, cluster, connect)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()
