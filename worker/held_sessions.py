"""Kept sessions: connections that a login has opened here, for clusters that take no key of ours.

Each is held by this one worker until its login ends, and its user's tasks come to this worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncssh
import redis
import redis.asyncio

from resop.config.logging import log_event
from resop.config.settings import Settings
from resop.errors import ResopError, ServiceFault, SessionExpired
from resop.messaging.publisher import LOGGED_OUT
from resop.security.login_handover import (
    ANSWER,
    TO_API,
    TO_WORKER,
    LoginKeyExchange,
    channel_of,
    fields,
)
from resop.security.sealing import Encryptor
from resop.ssh.connector import Connector
from resop.ssh.session import Connect, Session
from resop.ssh.user_groups import groups_of
from resop.storage.credentials import CredentialStore

log = logging.getLogger(__name__)

OFFER_SECONDS = 60.0
GRACE = timedelta(seconds=60)
"""So long after a login its credential may still be on its way to the record."""


@dataclass(slots=True)
class _HeldSession:
    session: Session
    connection: asyncssh.SSHClientConnection
    since: datetime = field(default_factory=lambda: datetime.now(UTC))


class HeldSessions:
    """Those of one worker; all but `drop_ended` runs on the worker's loop."""

    def __init__(
        self,
        worker: str,
        settings: Settings,
        clusters: list[str],
        connector: Connector,
        sealer: Encryptor,
        credentials: CredentialStore,
    ) -> None:
        """`clusters` are those that this worker serves."""
        self.channel = channel_of(worker)
        self._worker = worker
        self._settings = settings
        self._clusters = clusters
        self._sealer = sealer
        self._credentials = credentials
        self._connector = connector
        self._asks_groups = settings.policy().asks_groups
        self._redis = redis.asyncio.Redis.from_url(settings.redis_url, socket_timeout=5)
        self._offered: dict[str, LoginKeyExchange] = {}
        self._kept: dict[str, _HeldSession] = {}
        self._chores: set[asyncio.Task[None]] = set()

    def session(self, credential: str) -> Session | None:
        """The session of a login, if it is held here."""
        kept = self._kept.get(credential)
        return kept.session if kept else None

    def on_offer(self, word: str | None) -> None:
        """Somebody logs in: say that this worker would hold the session."""
        login, cluster, key = fields(word, "id", "cluster", "key")
        if cluster in self._clusters:
            # Who asks again has missed the answer: it stays the same one.
            passage = self._offered.get(login) or LoginKeyExchange(self._sealer, login)
            if passage.derive(key):
                if login not in self._offered:
                    self._offered[login] = passage
                    loop = asyncio.get_running_loop()
                    loop.call_later(OFFER_SECONDS, self._offered.pop, login, None)
                self._do(self._say({"id": login, "worker": self._worker, "key": passage.key}))

    def on_login(self, word: str | None) -> None:
        """The offer was taken: open the session."""
        login, sealed = fields(word, "id", "sealed")
        if passage := self._offered.pop(login, None):
            self._do(self._log_in(login, sealed, passage))

    def on_logout(self, credential: str | None) -> None:
        """A login has ended."""
        if credential in self._kept:
            self._do(self._drop(credential))

    def drop_ended(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close the sessions whose login is over, expired or never came about. Blocks."""
        for credential, kept in list(self._kept.items()):
            old = datetime.now(UTC) - kept.since > GRACE
            if old and self._credentials.get(credential) is None:
                loop.call_soon_threadsafe(self.on_logout, credential)

    async def close(self) -> None:
        """End all of them: nobody else can go on with them."""
        await asyncio.gather(*(self._drop(each) for each in list(self._kept)))
        await self._redis.aclose()

    async def _log_in(self, login: str, sealed: str, passage: LoginKeyExchange) -> None:
        answer: dict[str, Any]
        try:
            answer = await self._hold(**passage.decrypt(sealed, TO_WORKER))
        except ResopError as fault:
            answer = {"type": type(fault).__name__, "message": fault.message}
        except Exception as fault:
            # Without a traceback: its frames know the password.
            log.error("a session was not opened: a fault of the service: %s", type(fault).__name__)
            answer = {"type": ServiceFault.__name__, "message": str(ServiceFault())}
        await self._say({"id": login, "sealed": passage.encrypt(answer, TO_API)})

    async def _hold(
        self, cluster: str, username: str, password: str, otp: str | None, credential: str
    ) -> dict[str, Any]:
        target = self._settings.cluster(cluster)
        connection = await self._connector.with_password(target, username, password, otp)
        groups = await groups_of(connection) if self._asks_groups else None
        runner = self._settings.REMOTE_RUNNER == "auto"
        session = Session(_once(connection), runner=runner, kept=True)
        self._kept[credential] = _HeldSession(session, connection)
        self._do(self._end_with(credential, connection))
        log_event(log, "session kept", user=username, cluster=cluster, credential=credential)
        return {"groups": groups}

    async def _end_with(self, credential: str, connection: asyncssh.SSHClientConnection) -> None:
        with contextlib.suppress(OSError, asyncssh.Error):
            await connection.wait_closed()
        await self._drop(credential)

    async def _drop(self, credential: str) -> None:
        """Close a session and end its login, which is worth nothing without it."""
        kept = self._kept.pop(credential, None)
        if kept is None:
            return
        log_event(log, "session ended", credential=credential)
        await kept.session.close()
        kept.connection.close()  # which may not have been used yet
        try:
            await asyncio.to_thread(self._credentials.revoke, credential)
            await self._redis.publish(LOGGED_OUT, credential)
        except (ResopError, redis.RedisError, OSError):
            log.warning("the end of a session is not recorded; its next task will find it")

    async def _say(self, word: dict[str, Any]) -> None:
        try:
            await self._redis.publish(ANSWER, json.dumps(word))
        except (redis.RedisError, OSError) as fault:
            log.warning("a login is not answered: %s", type(fault).__name__)

    def _do(self, chore: Any) -> None:
        task = asyncio.get_running_loop().create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)


def _once(connection: asyncssh.SSHClientConnection) -> Connect:
    """Gives the one connection that there is; when it is gone, nobody can open another."""
    left = [connection]

    async def connect() -> asyncssh.SSHClientConnection:
        if left and not left[0].is_closed():
            return left.pop()
        raise SessionExpired

    return connect
