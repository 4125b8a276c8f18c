"""Held sessions: connections opened by a login, for clusters where no key can be installed.

This one worker holds each of them until the login ends, and the user's tasks come to this worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from dataclasses import asdict, dataclass, field
from typing import Any

import asyncssh

from resop.config.logging import log_event
from resop.config.settings import Settings
from resop.errors import QueueUnavailable, ResopError, ServiceFault, SessionExpired
from resop.messaging.messages import (
    LoggedOut,
    LoginAccepted,
    LoginOffer,
    LoginRequest,
    LoginResult,
    Message,
    Resync,
    worker_channel,
)
from resop.messaging.publisher import publish
from resop.messaging.redis_client import connect_async
from resop.security.encryption import Encryptor
from resop.security.login_handover import TO_API, TO_WORKER, LoginKeyExchange
from resop.ssh.connection_opener import Connect
from resop.ssh.connector import Connector
from resop.ssh.handshake_queue import QueuePlace, Rank
from resop.ssh.session import Session
from resop.storage.credentials import CredentialStore

log = logging.getLogger(__name__)

OFFER_SECONDS = 60.0
CREDENTIAL_GRACE_SECONDS = 60.0
"""How long after a login its credential may still be missing from the database."""
CONNECTION_ENDED = "the connection that a worker held for it was closed"


@dataclass(slots=True)
class _HeldSession:
    session: Session
    connection: asyncssh.SSHClientConnection
    since: float = field(default_factory=time.monotonic)


class HeldSessions:
    """The held sessions of one worker. Used on the worker's loop, except `ended`."""

    def __init__(
        self,
        worker: str,
        settings: Settings,
        clusters: list[str],
        connector: Connector,
        encryptor: Encryptor,
        credentials: CredentialStore,
    ) -> None:
        """Set up; `clusters` are the clusters that this worker serves."""
        self.channel = worker_channel(worker)
        self._worker = worker
        self._settings = settings
        self._clusters = clusters
        self._encryptor = encryptor
        self._credentials = credentials
        self._connector = connector
        self._redis = connect_async(settings.redis_url, encryptor.message_keys)
        self._offered: dict[str, LoginKeyExchange] = {}
        self._held: dict[str, _HeldSession] = {}
        self._background: set[asyncio.Task[None]] = set()

    def session(self, credential: str) -> Session | None:
        """Return the session of a login; None if this worker does not hold it."""
        held = self._held.get(credential)
        return held.session if held else None

    def on_offer(self, message: LoginOffer | Resync) -> None:
        """Answer a login that looks for a worker: this one would hold the session."""
        if isinstance(message, LoginOffer) and message.cluster in self._clusters:
            # A repeated message means that the answer was missed: repeat the same answer.
            login = message.login
            exchange = self._offered.get(login) or LoginKeyExchange(self._encryptor, login)
            if exchange.derive(message.public_key):
                if login not in self._offered:
                    self._offered[login] = exchange
                    loop = asyncio.get_running_loop()
                    loop.call_later(OFFER_SECONDS, self._offered.pop, login, None)
                answer = LoginAccepted(login, self._worker, exchange.public_key)
                self._run_in_background(self._publish(answer))

    def on_login(self, message: LoginRequest | Resync) -> None:
        """Open the session of a login that has chosen this worker."""
        if isinstance(message, LoginRequest) and (
            exchange := self._offered.pop(message.login, None)
        ):
            self._run_in_background(self._log_in(message, exchange))

    def end_login(self, credential: str) -> None:
        """Close the session of a login that has ended, if this worker holds it."""
        if credential in self._held:
            self._run_in_background(self._drop(credential))

    def ended(self) -> list[str]:
        """Return the credentials whose login ended, expired or was never recorded. Blocks."""
        grace = time.monotonic() - CREDENTIAL_GRACE_SECONDS
        old = [credential for credential, held in list(self._held.items()) if held.since < grace]
        return [each for each in old if self._credentials.usable(each) is None]

    async def close(self) -> None:
        """End all held sessions: no other worker can continue them."""
        await asyncio.gather(*(self._drop(each) for each in list(self._held)))
        await self._redis.aclose()

    async def _log_in(self, request: LoginRequest, exchange: LoginKeyExchange) -> None:
        answer: dict[str, Any]
        try:
            answer = await self._hold(**exchange.decrypt(request.encrypted, TO_WORKER))
        except ResopError as fault:
            answer = {
                "type": fault.public_type,
                "message": fault.message,
                "details": fault.details,
            }
        except Exception as fault:
            # Without a traceback: its frames hold the password.
            log.error("session not opened: a fault of the service: %s", type(fault).__name__)
            answer = {"type": ServiceFault.__name__, "message": str(ServiceFault())}
        await self._publish(LoginResult(request.login, exchange.encrypt(answer, TO_API)))

    async def _hold(
        self,
        cluster: str,
        username: str,
        password: str,
        otp: str | None,
        credential: str,
        turn: dict[str, Any],
    ) -> dict[str, Any]:
        target = self._settings.cluster(cluster)
        place = QueuePlace(Rank(turn["rank"]), turn["origin"])
        connection, account = await self._connector.account_with_password(
            target, username, password, otp, place
        )
        runner = self._settings.REMOTE_RUNNER == "auto"
        session = Session(_connect_once(connection), runner=runner, held=True)
        self._held[credential] = _HeldSession(session, connection)
        self._run_in_background(self._end_with(credential, connection))
        log_event(
            log, "session held", user=account.username, cluster=cluster, credential=credential
        )
        return asdict(account)

    async def _end_with(self, credential: str, connection: asyncssh.SSHClientConnection) -> None:
        with contextlib.suppress(OSError, asyncssh.Error):
            await connection.wait_closed()
        await self._drop(credential)

    async def _drop(self, credential: str) -> None:
        """Close a session and end its login, which is useless without the session."""
        held = self._held.pop(credential, None)
        if held is None:
            return
        log_event(log, "session ended", credential=credential)
        await held.session.close()
        held.connection.close()  # the session has not opened it if no step was run
        try:
            await asyncio.to_thread(self._credentials.revoke, credential, CONNECTION_ENDED)
            await publish(self._redis, LoggedOut(credential))
        except ResopError:
            log.warning("the end of a session was not recorded; its next task will fail")

    async def _publish(self, message: Message) -> None:
        try:
            await publish(self._redis, message)
        except QueueUnavailable as fault:
            log.warning("a login could not be answered: %s", type(fault.__cause__).__name__)

    def _run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _connect_once(connection: asyncssh.SSHClientConnection) -> Connect:
    """Return a function that gives out the one connection; nobody can open another."""
    unused = [connection]

    async def connect() -> asyncssh.SSHClientConnection:
        if unused and not unused[0].is_closed():
            return unused.pop()
        raise SessionExpired

    return connect
