"""Provide the SSH session of a login: the connection a worker holds, or one opened with the key.

The key, with its certificate if it has one, is decrypted only when a connection is opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import WeakValueDictionary

import asyncssh

from resop.access.permissions import MAX_CACHED_LOGINS
from resop.config.settings import Settings
from resop.errors import SessionExpired, SessionHeldByWorker
from resop.messaging.messages import LoggedOut, Resync
from resop.security.encryption import Encryptor
from resop.ssh.connector import Connector
from resop.ssh.session import Session
from resop.ssh.session_pool import SessionPool
from resop.storage.credentials import CredentialStore


class SessionProvider:
    """Provides sessions in one process."""

    def __init__(
        self,
        settings: Settings,
        credentials: CredentialStore,
        encryptor: Encryptor,
        connector: Connector,
        *,
        runner: bool,
        held: Callable[[str], Session | None] | None = None,
    ) -> None:
        """Without `runner`, sessions are for transfers only and run no steps.

        `held` returns the session of a credential that this process holds, or None; `held` itself
        is None in a process that holds no sessions.
        """
        self._settings = settings
        self._credentials = credentials
        self._encryptor = encryptor
        self._connector = connector
        self._held = held
        self._pool = SessionPool(runner=runner)
        self._uids: dict[str, int | None] = {}
        self._of_login: WeakValueDictionary[str, Session] = WeakValueDictionary()
        self._closing: set[asyncio.Task[None]] = set()

    async def session(
        self, username: str, cluster: str, credential: str, key_share: str
    ) -> Session:
        """Return the session of a login; `key_share` comes from its token.

        Logins of one account share it. A name that was deleted and given to somebody else has
        another number, and so gets no connection of the account before.
        """
        if self._held and (session := self._held(credential)):
            return session
        target = self._settings.cluster(cluster)

        async def connect() -> asyncssh.SSHClientConnection:
            # A worker may have to find a step of a login that has ended, in order to end it.
            find = self._credentials.get if self._held is None else self._credentials.usable
            found = await asyncio.to_thread(find, credential)
            if found is not None and found.kind == "held" and self._held is None:
                raise SessionHeldByWorker
            if found is None or found.encrypted_key is None:
                raise SessionExpired("this login has ended: log in again")
            key = self._encryptor.decrypt_key(found.encrypted_key, found.id, key_share)
            return await self._connector.with_key(target, username, key)

        uid = await self._uid_of(credential)
        session = self._pool.session(username, cluster, connect, uid)
        self._of_login[credential] = session
        return session

    async def _uid_of(self, credential: str) -> int | None:
        """Return the account's number at login, which stays that of the credential."""
        if credential not in self._uids:
            if len(self._uids) >= MAX_CACHED_LOGINS:
                self._uids.clear()
            found = await asyncio.to_thread(self._credentials.uid, credential)
            self._uids[credential] = found
        return self._uids[credential]

    def on_logout(self, message: LoggedOut | Resync) -> None:
        """Close the connections of a login that has ended."""
        if isinstance(message, LoggedOut):
            self.end_login(message.credential)

    def end_login(self, credential: str) -> None:
        """Close the connections that a login used, as soon as nothing runs over them.

        Another login of that user opens new ones.
        """
        if session := self._of_login.pop(credential, None):
            closing = asyncio.get_running_loop().create_task(session.retire())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()
