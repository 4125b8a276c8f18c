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
from resop.errors import (
    AccessError,
    ClusterUnreachable,
    HostKeyMismatch,
    KeyRefused,
    LimitReached,
    LoginRefused,
    ResopError,
)
from resop.ssh.asyncssh_workarounds import (
    SASLPrepError,
    TcpTunnel,
    prompts_were_accepted,
    skip_ignore_packets,
)
from resop.ssh.connection_errors import algorithm_error, is_dropped, network_error, place_of
from resop.ssh.handshake_queue import KEY_TURN, Displaced, HandshakeQueue, Rank, Turn
from resop.ssh.host_keys import HostKeys, load_host_keys
from resop.ssh.known_hosts import KnownKeys
from resop.ssh.login_answers import LoginAnswers, LoginSecrets
from resop.ssh.remote_account import RemoteAccount, differs, fetch_account
from resop.ssh.server_greeting import ServerGreeting, Stage
from resop.ssh.tcp import connect_tcp, resolve

CONNECT_TIMEOUT = 10.0
"""Seconds until the server shows its host key; then it has LOGIN_SECONDS for each question."""
KEEPALIVE_INTERVAL = 8
KEEPALIVE_MISSES = 2  # so that a dead peer is noticed within 30 s

HANDSHAKE_WAIT = 30.0
"""Seconds that a connection with a key waits for its turn."""
LOGIN_WAIT = 10.0
"""Seconds that a login with a password waits for its turn."""
LOGIN_RETRY_SECONDS = 5
"""The Retry-After of a login whose turn did not come."""
MAX_ATTEMPTS = 8
RETRY_PAUSE = 0.3
"""Seconds before the second attempt, doubled with each further one up to MAX_RETRY_PAUSE."""
MAX_RETRY_PAUSE = 1.6
COMPRESSION = ("none", "zlib@openssh.com")
"""None, unless the server insists, like ssh."""
CIPHERS = "^aes256-gcm@openssh.com,aes128-gcm@openssh.com"
"""Preferred before all others: chacha20-poly1305, asyncssh's choice, takes twice the time."""

_KEY_END = b"-----END OPENSSH PRIVATE KEY-----\n"
_Key = asyncssh.SSHKey | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]


class _Client(asyncssh.SSHClient):
    """Answers the server's questions at login, and watches the time that it takes."""

    def __init__(
        self, host_keys: HostKeys, login: LoginSecrets, seconds: float, key: _Key | None = None
    ) -> None:
        """`seconds` is LOGIN_SECONDS; `key` logs in instead of a password."""
        self.host_keys = host_keys
        self.answers = LoginAnswers(host_keys.cluster, login)
        self.wrong_host_key: str | None = None
        self.attempt = 1
        self.greeting = ServerGreeting()
        self.known_keys = KnownKeys()
        self.certificates = True
        """True if the server may present a certificate in place of a host key."""
        self.key_requests = 0
        """How often the server wanted a key: once only, if it accepted ours and wants more."""
        self._key = key
        self._seconds = seconds
        self._timeout: asyncio.Timeout | None = None
        self._connection: asyncssh.SSHClientConnection | None = None

    @property
    def preferred_auth(self) -> str:
        """The methods of the login, in the order in which they are tried."""
        return "publickey" if self._key else "keyboard-interactive,password"

    @contextlib.asynccontextmanager
    async def time_limit(self) -> AsyncIterator[None]:
        """Limit the time of a login: CONNECT_TIMEOUT for the host key, then LOGIN_SECONDS."""
        loop = asyncio.get_running_loop()
        connecting = loop.call_later(CONNECT_TIMEOUT, self._give_up_without_host_key)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT + self._seconds) as self._timeout:
                yield
        finally:
            connecting.cancel()
            self._timeout = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._connection = conn

    def host_key_algorithms(self) -> list[str]:
        """Return the algorithms that the server's host key may have."""
        return self.host_keys.algorithms(self.known_keys, certificates=self.certificates)

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        if self.host_keys.trusts(key):
            return True
        self.wrong_host_key = key.get_fingerprint()
        return False

    def public_key_auth_requested(self) -> list[_Key] | None:
        self.key_requests += 1
        self._restart_time()
        return [self._key] if self._key and self.key_requests == 1 else None

    def auth_banner_received(self, msg: str, lang: str) -> None:
        self.answers.note_message(msg)

    def password_auth_requested(self) -> str | None:
        self._restart_time()
        assert self._connection is not None
        return self.answers.password_method(prompts_were_accepted(self._connection))

    def password_change_requested(self, prompt: str, lang: str) -> tuple[str, str]:
        self.answers.password_expired = True
        raise asyncssh.PermissionDenied("the password has expired")

    def kbdint_auth_requested(self) -> str | None:
        return "" if self.answers.begin() else None

    def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        if prompts:
            self._restart_time()
        return self.answers.answers(name, instructions, prompts)

    def _restart_time(self) -> None:
        """Give the server LOGIN_SECONDS from now on: it may ask a directory, or a phone."""
        self._end_in(self._seconds)

    @property
    def is_connected(self) -> bool:
        """True from the server's host key on."""
        return self._connection is not None and self._connection.get_server_host_key() is not None

    def _give_up_without_host_key(self) -> None:
        if not self.is_connected:
            self._end_in(0)

    def _end_in(self, seconds: float) -> None:
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time() + seconds)


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
        turn: Turn | None = None,
    ) -> asyncssh.SSHClientConnection:
        """Log in with a password and, where the cluster asks for it, a one-time code.

        Raises LoginRefused, PasswordExpired, OtpRequired, HostKeyMismatch or ClusterUnreachable,
        and LimitReached if its turn does not come.
        """

        def client() -> _Client:
            login = LoginSecrets(username, password, otp)
            return _Client(self._host_keys[cluster.name], login, self._login_seconds)

        return await self._connect_with_retries(cluster, username, client, turn or KEY_TURN)

    async def account_with_password(
        self,
        cluster: Cluster,
        username: str,
        password: str,
        otp: str | None,
        turn: Turn | None = None,
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
        key, login = _read_key(private_key), LoginSecrets(username, None)

        def client() -> _Client:
            return _Client(self._host_keys[cluster.name], login, self._login_seconds, key)

        turn = Turn(Rank.KEY, username)
        return await self._connect_with_retries(cluster, username, client, turn)

    async def _connect_with_retries(
        self,
        cluster: Cluster,
        username: str,
        new_client: Callable[[], _Client],
        turn: Turn,
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
                error = _explain(fault, cluster, client)
                # A connection dropped before the first question is the effect of MaxStartups.
                dropped = is_dropped(fault, client.greeting) and error.retryable
                late = attempt == MAX_ATTEMPTS or time.monotonic() - began > CONNECT_TIMEOUT
                if client.answers.was_asked:
                    handshakes.note_answered()
                elif dropped:
                    handshakes.note_dropped()
                if not dropped or client.answers.was_asked or late:
                    raise error from fault
            pause = min(RETRY_PAUSE * 2 ** (attempt - 1), MAX_RETRY_PAUSE)
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))

    @contextlib.asynccontextmanager
    async def _handshake(self, cluster: Cluster, turn: Turn) -> AsyncIterator[None]:
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
        client: _Client,
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
        client: _Client,
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


async def _open_socket(cluster: Cluster, client: _Client) -> socket.socket:
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


def _too_many_wait(cluster: Cluster, turn: Turn) -> ResopError:
    waiting = f"too many logins wait for a connection to {cluster.name}"
    if turn.rank is Rank.KEY:
        return ClusterUnreachable(f"{waiting}: try again in a minute")
    return LimitReached(
        f"{waiting}: try again in {LOGIN_RETRY_SECONDS} s",
        retry_after=LOGIN_RETRY_SECONDS,
        limit="waiting_logins",
    )


def _explain(fault: Exception, cluster: Cluster, client: _Client) -> ResopError:
    where = place_of(cluster)
    if client.wrong_host_key:
        return client.host_keys.mismatch(where, client.known_keys, client.wrong_host_key)
    if isinstance(fault, asyncssh.HostKeyNotVerifiable):
        return HostKeyMismatch(f"{where}: {fault}: nothing was sent")
    if isinstance(fault, SASLPrepError):  # RFC 4013: a prohibited character
        return LoginRefused(f"the user name or password cannot be sent: {fault}")
    if _is_refusal(fault):
        return _refusal(fault, client)
    if error := algorithm_error(fault, cluster, client.greeting, client.host_key_algorithms()):
        return error
    if client.answers.was_asked or (client.is_connected and isinstance(fault, TimeoutError)):
        return _login_cut(fault, where)
    return network_error(fault, cluster, client.greeting)


def _login_cut(fault: Exception, where: str) -> ResopError:
    """Return the error of a login that ended without an answer."""
    if isinstance(fault, TimeoutError):
        return ClusterUnreachable(f"{where} does not answer within LOGIN_SECONDS")
    reason = str(fault) or type(fault).__name__
    return ClusterUnreachable(f"{where} ended the login without an answer: {reason}")


def _is_refusal(fault: Exception) -> bool:
    if isinstance(fault, asyncssh.DisconnectError):  # sshd's message at its MaxAuthTries
        return (
            isinstance(fault, asyncssh.PermissionDenied)
            or "authentication failures" in fault.reason
        )
    return False


def _refusal(fault: Exception, client: _Client) -> AccessError:
    if not client.key_requests:
        return client.answers.refusal()
    if isinstance(fault, asyncssh.PermissionDenied) and client.key_requests == 1:
        return KeyRefused(
            "the cluster accepts the key of this login, but asks for something else as well",
            another_factor=True,
        )
    return KeyRefused()


def _read_key(private_key: bytes) -> _Key:
    """Read a private key, with the certificate that follows it, if any."""
    head, end, certificate = private_key.partition(_KEY_END)
    key = asyncssh.import_private_key(head + end)
    return (key, asyncssh.import_certificate(certificate)) if certificate.strip() else key
