"""Open SSH connections: at a limited rate, and only to servers with a trusted host key."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence

import asyncssh

from resop.config.clusters import Cluster
from resop.config.settings import Settings
from resop.config.ssh_algorithms import CIPHER, KEX, MAC, older
from resop.errors import AccessError, ClusterUnreachable, LimitReached, ResopError
from resop.ssh.asyncssh_workarounds import TcpTunnel, skip_ignore_packets
from resop.ssh.connection_errors import is_dropped
from resop.ssh.handshake_queue import KEY_TURN, Displaced, HandshakeQueue, QueuePlace, Rank
from resop.ssh.host_keys import load_host_keys
from resop.ssh.login_answers import LoginSecrets
from resop.ssh.login_client import LoginClient, read_key
from resop.ssh.login_errors import login_error
from resop.ssh.remote_account import RemoteAccount, differs, fetch_account
from resop.ssh.server_greeting import Stage
from resop.ssh.tcp import connect_tcp, resolve

KEEPALIVE_INTERVAL = 8
KEEPALIVE_MISSES = 2  # so that a dead peer is noticed within 30 s

HANDSHAKE_WAIT = 30.0
"""Seconds that a connection with a key waits for its turn."""
LOGIN_WAIT = 10.0
"""Seconds that a login with a password waits for its turn."""
LOGIN_RETRY_SECONDS = 5
"""The Retry-After of a login whose turn did not come."""
MAX_ATTEMPTS = 8
RETRY_TIMEOUT = 10.0
"""Seconds after the first attempt, in which the last one begins."""
RETRY_PAUSE = 0.3
"""Seconds before the second attempt, doubled with each further one up to MAX_RETRY_PAUSE."""
MAX_RETRY_PAUSE = 1.6
COMPRESSION = ("none", "zlib@openssh.com")
"""None, unless the server insists, like ssh."""
CIPHERS = "^aes256-gcm@openssh.com,aes128-gcm@openssh.com"
"""Preferred before all others: chacha20-poly1305, asyncssh's choice, takes twice the time."""


class Connector:
    """Opens connections to the configured clusters."""

    def __init__(self, settings: Settings) -> None:
        self._host_keys = {
            cluster.name: load_host_keys(cluster, settings)
            for cluster in settings.clusters().values()
        }
        self._login_seconds = settings.LOGIN_SECONDS
        self.key_types: dict[str, str] = {}
        """The type of users' keys that each cluster accepted last."""
        self._handshakes = {name: HandshakeQueue() for name in self._host_keys}

    async def with_password(
        self,
        cluster: Cluster,
        username: str,
        password: str,
        otp: str | None,
        turn: QueuePlace | None = None,
    ) -> asyncssh.SSHClientConnection:
        """Log in with a password and, where the cluster asks for it, a one-time code.

        Raises LoginRefused, PasswordExpired, OtpRequired, HostKeyMismatch or ClusterUnreachable,
        and LimitReached if its turn does not come.
        """

        def client() -> LoginClient:
            login = LoginSecrets(username, password, otp)
            return LoginClient(self._host_keys[cluster.name], login, self._login_seconds)

        return await self._connect_with_retries(cluster, username, client, turn or KEY_TURN)

    async def account_with_password(
        self,
        cluster: Cluster,
        username: str,
        password: str,
        otp: str | None,
        turn: QueuePlace | None = None,
    ) -> tuple[asyncssh.SSHClientConnection, RemoteAccount]:
        """Log in like `with_password`, and return the connection with its account.

        If the cluster calls the account by another name, that name logs in instead, so that sshd
        confirms it. Raises IdentityUnknown if it does not, or cannot without another code.
        """
        connection = await self.with_password(cluster, username, password, otp, turn)
        try:
            account = await fetch_account(connection, cluster.name)
            if account.username == username:
                return connection, account
        except BaseException:
            connection.close()
            raise
        connection.close()
        if otp is not None:
            raise differs(cluster.name, account.username)
        try:
            confirmed = await self.with_password(cluster, account.username, password, None, turn)
        except AccessError:
            raise differs(cluster.name, account.username) from None
        return confirmed, account

    async def with_key(
        self, cluster: Cluster, username: str, private_key: bytes
    ) -> asyncssh.SSHClientConnection:
        """Log in with a private key (OpenSSH format), which its certificate may follow.

        Raises KeyRefused, HostKeyMismatch or ClusterUnreachable.
        """
        key, login = read_key(private_key), LoginSecrets(username, None)

        def client() -> LoginClient:
            return LoginClient(self._host_keys[cluster.name], login, self._login_seconds, key)

        turn = QueuePlace(Rank.KEY, username)
        return await self._connect_with_retries(cluster, username, client, turn)

    async def _connect_with_retries(
        self,
        cluster: Cluster,
        username: str,
        new_client: Callable[[], LoginClient],
        turn: QueuePlace,
    ) -> asyncssh.SSHClientConnection:
        attempt, began = 0, time.monotonic()
        handshakes = self._handshakes[cluster.name]
        while True:
            attempt, client = attempt + 1, new_client()
            client.attempt = attempt
            try:
                async with self._handshake(cluster, turn):
                    connection = await self._connect(cluster, username, client)
                handshakes.note_answered()
                return connection
            except ResopError:
                raise
            except Exception as fault:  # asyncssh passes on whatever goes wrong inside
                error = login_error(fault, cluster, client)
                # A connection dropped before the first question is the effect of MaxStartups.
                dropped = is_dropped(fault, client.greeting) and error.retryable
                late = attempt == MAX_ATTEMPTS or time.monotonic() - began > RETRY_TIMEOUT
                if client.answers.was_asked:
                    handshakes.note_answered()
                elif dropped:
                    handshakes.note_dropped()
                if not dropped or client.answers.was_asked or late:
                    raise error from fault
            pause = min(RETRY_PAUSE * 2 ** (attempt - 1), MAX_RETRY_PAUSE)
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))

    @contextlib.asynccontextmanager
    async def _handshake(self, cluster: Cluster, turn: QueuePlace) -> AsyncIterator[None]:
        """Hold one of the handshakes of a cluster."""
        handshakes = self._handshakes[cluster.name]
        try:
            async with asyncio.timeout(HANDSHAKE_WAIT if turn.rank is Rank.KEY else LOGIN_WAIT):
                await handshakes.acquire(turn)
        except (TimeoutError, Displaced):
            raise _too_many_wait(cluster, turn) from None
        try:
            yield
        finally:
            handshakes.release(turn)

    async def _connect(
        self,
        cluster: Cluster,
        username: str,
        client: LoginClient,
    ) -> asyncssh.SSHClientConnection:
        """Open a connection; as in ssh, a certificate that is not valid leaves the plain keys."""
        client.known_keys = known = client.host_keys.known()
        async with client.time_limit():
            try:
                return await self._log_in(cluster, username, client)
            except asyncssh.HostKeyNotVerifiable as fault:
                certified = known.authorities and not client.wrong_host_key
                if not certified or not known.keys or "revoked" in fault.reason:
                    raise
            client.certificates = False
            return await self._log_in(cluster, username, client)

    async def _log_in(
        self,
        cluster: Cluster,
        username: str,
        client: LoginClient,
    ) -> asyncssh.SSHClientConnection:
        known, accepted = client.known_keys, client.host_keys.older
        name = client.host_keys.names.plain
        connection = await asyncssh.connect(
            name,
            cluster.ssh_port,
            tunnel=TcpTunnel(lambda: _open_socket(cluster, client), client.greeting),
            username=username,
            client_factory=lambda: client,
            # Use nothing of the account that runs resop: no ssh_config, no agent, no keys.
            config=None,
            agent_path=None,
            client_keys=None,
            gss_host=None,
            x509_trusted_certs=None,
            known_hosts=(known.keys, known.authorities, known.revoked),
            server_host_key_algs=client.host_key_algorithms(),
            preferred_auth=client.preferred_auth,
            utf8_decode_errors="replace",  # of banners; prompts: asyncssh_workarounds.py
            compression_algs=COMPRESSION,
            kex_algs=_with_older(KEX, accepted),
            encryption_algs=_with_older(CIPHER, accepted) or CIPHERS,
            mac_algs=_with_older(MAC, accepted),
            login_timeout=0,  # asyncssh reports its own timeout as a dropped connection
            keepalive_interval=KEEPALIVE_INTERVAL,
            keepalive_count_max=KEEPALIVE_MISSES,
        )
        skip_ignore_packets(connection)
        return connection


async def _open_socket(cluster: Cluster, client: LoginClient) -> socket.socket:
    addresses = await resolve(cluster.address, cluster.ssh_port)
    client.greeting.stage = Stage.CONNECT
    # The first of several may have dropped the attempt before: begin with the next one.
    first = (client.attempt - 1) % len(addresses)
    connection = await connect_tcp([*addresses[first:], *addresses[:first]])
    client.greeting.stage = Stage.SSH
    return connection


def _with_older(kind: str, names: Sequence[str]) -> str | tuple[()]:
    """Return asyncssh's setting for its usual algorithms of a kind and older ones after them."""
    accepted = older(kind, names)
    return f"+{','.join(accepted)}" if accepted else ()


def _too_many_wait(cluster: Cluster, turn: QueuePlace) -> ResopError:
    waiting = f"too many logins wait for a connection to {cluster.name}"
    if turn.rank is Rank.KEY:
        return ClusterUnreachable(f"{waiting}: try again in a minute")
    return LimitReached(
        f"{waiting}: try again in {LOGIN_RETRY_SECONDS} s",
        retry_after=LOGIN_RETRY_SECONDS,
        limit="waiting_logins",
    )
