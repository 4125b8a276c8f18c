"""The way from a login to its user's session: the one that is kept, or by the credential's key.

That is unsealed, with its certificate if it has one, when a connection is opened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from weakref import WeakValueDictionary

import asyncssh

from resop.config.settings import Settings
from resop.errors import SessionExpired, SessionHeldByWorker
from resop.messaging.messages import LoggedOut, Resync
from resop.security.encryption import Encryptor
from resop.ssh.connector import Connector
from resop.ssh.session import Session
from resop.ssh.session_pool import SessionPool
from resop.storage.credentials import CredentialStore


class SessionProvider:
    """The sessions of one process."""

    def __init__(
        self,
        settings: Settings,
        credentials: CredentialStore,
        sealer: Encryptor,
        connector: Connector,
        *,
        runner: bool,
        kept: Callable[[str], Session | None] | None = None,
    ) -> None:
        """`runner`: whether steps are to run; without, there are sessions for transfers alone.

        `kept` tells the session of a credential that is held here; None where none is held.
        """
        self._settings = settings
        self._credentials = credentials
        self._sealer = sealer
        self._connector = connector
        self._kept = kept
        self._pool = SessionPool(runner=runner)
        self._of_login: WeakValueDictionary[str, Session] = WeakValueDictionary()
        self._closing: set[asyncio.Task[None]] = set()

    def session(self, username: str, cluster: str, credential: str, key_share: str) -> Session:
        """The session of a login; `half` is what its token holds of the seal of its key."""
        if self._kept and (held := self._kept(credential)):
            return held
        target = self._settings.cluster(cluster)

        async def connect() -> asyncssh.SSHClientConnection:
            found = await asyncio.to_thread(self._credentials.get, credential)
            if found is not None and found.kind == "held" and self._kept is None:
                raise SessionHeldByWorker
            if found is None or found.encrypted_key is None:
                raise SessionExpired("this login has ended: log in again")
            key = self._sealer.decrypt_key(found.encrypted_key, found.id, key_share)
            return await self._connector.with_key(target, username, key)

        session = self._of_login[credential] = self._pool.session(username, cluster, connect)
        return session

    def on_logout(self, message: LoggedOut | Resync) -> None:
        """Close the idle connections of a user whose login has ended.

        Another login of that user opens new ones. After a missed logout the connections are
        closed once they have been idle for long.
        """
        if isinstance(message, Resync):
            return
        if session := self._of_login.pop(message.credential, None):
            closing = asyncio.get_running_loop().create_task(session.close_idle(time.monotonic()))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()
