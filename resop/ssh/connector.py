"""Open SSH connections: at a limited rate, and only to servers with a trusted host key."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence

import asyncssh

from resop.config.clusters import Cluster
from resop.config.settings import Settings
from resop.errors import (
    AccessError,
    ClusterUnreachable,
    HostKeyMismatch,
    KeyRefused,
    LimitReached,
    LoginRefused,
    OtpRequired,
    PasswordExpired,
    ResopError,
)
from resop.ssh.asyncssh_workarounds import SASLPrepError, skip_ignore_packets
from resop.ssh.handshake_queue import KEY_TURN, Displaced, HandshakeQueue, Rank, Turn
from resop.ssh.host_keys import HostKeys, load_host_keys
from resop.ssh.remote_account import RemoteAccount, differs, fetch_account

CONNECT_TIMEOUT = 10.0
"""Seconds until the server's first question; with a key, until the login is complete."""
ANSWER_TIMEOUT = 30.0
"""Seconds that the server may take for each answer: it may ask the user's phone."""
KEEPALIVE_INTERVAL = 8
KEEPALIVE_MISSES = 2  # so that a dead peer is noticed within 30 s

HANDSHAKE_WAIT = 30.0
"""Seconds that a connection with a key waits for its turn."""
LOGIN_WAIT = 10.0
"""Seconds that a login with a password waits for its turn."""
LOGIN_RETRY_SECONDS = 5
"""The Retry-After of a login whose turn did not come."""
MAX_ATTEMPTS = 5
RETRY_PAUSE = 0.3
"""Seconds before the second attempt, doubled with each further one."""
CIPHERS = "^aes256-gcm@openssh.com,aes128-gcm@openssh.com"
"""Preferred before all others: chacha20-poly1305, asyncssh's choice, takes twice the time."""

# How servers word their prompts; any other prompt counts as one for a code.
_PASSWORD = re.compile(
    "password|passphrase|passwort|kennwort|mot de passe|contraseña|senha|wachtwoord|lösenord|"
    "hasło|пароль|密码|密碼|パスワード",
    re.IGNORECASE,
)
_CODE = re.compile(r"one.?time|otp|token|code|authenticator|\bpin\b", re.IGNORECASE)
_NEW = re.compile(r"\b(new|retype|current|neues|nouveau|nueva)\b", re.IGNORECASE)
# How PAM reports a correct password that is too old (pam_unix, pam_ldap, sssd).
_EXPIRED = re.compile(
    "password (has |is )?(been )?expired|change your password|password must be changed",
    re.IGNORECASE,
)


_KEY_END = b"-----END OPENSSH PRIVATE KEY-----\n"
_Key = asyncssh.SSHKey | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]


class _Client(asyncssh.SSHClient):
    """Answers the server's questions at login, each of them once: a password is tried one time."""

    def __init__(self, keys: HostKeys, password: str | None, otp: str | None) -> None:
        self.host_keys = keys
        self.timeout: asyncio.Timeout | None = None
        self._password = password
        self._password_sent = False
        self._otp = otp
        self.has_otp = otp is not None
        self.was_asked = False
        self.otp_missing = False
        self.password_expired = False
        self.wrong_host_key: str | None = None

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        if self.host_keys.trusts(key):
            return True
        self.wrong_host_key = key.get_fingerprint()
        return False

    def password_auth_requested(self) -> str | None:
        self._password_sent = self._password is not None
        return self._take_password()

    def password_change_requested(self, prompt: str, lang: str) -> tuple[str, str]:
        self.password_expired = True
        raise asyncssh.PermissionDenied("the password has expired")

    def kbdint_auth_requested(self) -> str | None:
        # asyncssh tries this method first. If the server offers it after the password was sent by
        # the other method, it is for the second factor. After a refusal it is not tried again.
        return "" if self._password is not None or self._password_sent else None

    def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        # Before the password is sent, such a text is part of the server's greeting.
        if self._password is None and _EXPIRED.search(f"{name} {instructions}"):
            self.password_expired = True
        answers = []
        for prompt, _ in prompts:
            answer = self._answer_to(prompt)
            if answer is None:
                return None
            answers.append(answer)
        return answers

    def _answer_to(self, prompt: str) -> str | None:
        if _asks_password(prompt):
            self.password_expired |= self._password is None and bool(_NEW.search(prompt))
            return self._take_password()
        if self.has_otp and self._otp is None and not _CODE.search(prompt):
            return self._take_password()  # the second of two prompts in unknown words
        return self._take_otp()

    def _take_password(self) -> str | None:
        self._note_question()
        password, self._password = self._password, None
        return password

    def _take_otp(self) -> str | None:
        self._note_question()
        otp, self._otp = self._otp, None
        self.otp_missing = not self.has_otp
        return otp

    def _note_question(self) -> None:
        self.was_asked = True
        if self.timeout is not None and not self.timeout.expired():
            self.timeout.reschedule(asyncio.get_running_loop().time() + ANSWER_TIMEOUT)


def _asks_password(prompt: str) -> bool:
    return bool(_PASSWORD.search(prompt)) and not _CODE.search(prompt)


class Connector:
    """Opens connections to the configured clusters."""

    def __init__(self, settings: Settings) -> None:
        self._host_keys = {
            cluster.name: load_host_keys(cluster, settings)
            for cluster in settings.clusters().values()
        }
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
            return _Client(self._host_keys[cluster.name], password, otp)

        return await self._connect_with_retries(cluster, username, client, (), turn or KEY_TURN)

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
        head, end, certificate = private_key.partition(_KEY_END)
        key = asyncssh.import_private_key(head + end)

        def client() -> _Client:
            return _Client(self._host_keys[cluster.name], None, None)

        turn = Turn(Rank.KEY, username)
        if certificate.strip():
            pair = (key, asyncssh.import_certificate(certificate))
            return await self._connect_with_retries(cluster, username, client, [pair], turn)
        return await self._connect_with_retries(cluster, username, client, [key], turn)

    async def _connect_with_retries(
        self,
        cluster: Cluster,
        username: str,
        new_client: Callable[[], _Client],
        keys: Sequence[_Key],
        turn: Turn,
    ) -> asyncssh.SSHClientConnection:
        attempt, began = 0, time.monotonic()
        handshakes = self._handshakes[cluster.name]
        while True:
            attempt, client = attempt + 1, new_client()
            try:
                async with self._handshake(cluster, turn):
                    connection = await self._connect(cluster, username, client, keys)
                handshakes.note_answered()
                return connection
            except ResopError:
                raise
            except Exception as fault:  # asyncssh passes on whatever goes wrong inside
                error = _explain(fault, cluster, client, with_key=bool(keys))
                # A connection dropped before the first question is the effect of MaxStartups.
                dropped = isinstance(fault, ConnectionError | asyncssh.ConnectionLost)
                refused = isinstance(fault, ConnectionRefusedError)
                late = attempt == MAX_ATTEMPTS or time.monotonic() - began > CONNECT_TIMEOUT
                if client.was_asked:
                    handshakes.note_answered()
                elif dropped and not refused:
                    handshakes.note_dropped()
                if not dropped or refused or client.was_asked or late:
                    raise error from fault
            await asyncio.sleep(RETRY_PAUSE * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))

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
        keys: Sequence[_Key],
    ) -> asyncssh.SSHClientConnection:
        known = client.host_keys.known_hosts()
        async with asyncio.timeout(CONNECT_TIMEOUT) as client.timeout:
            connection = await asyncssh.connect(
                cluster.address,
                cluster.ssh_port,
                username=username,
                client_factory=lambda: client,
                # Use nothing of the account that runs resop: no ssh_config, no agent, no keys.
                config=None,
                agent_path=None,
                client_keys=list(keys) or None,
                gss_host=None,
                x509_trusted_certs=None,
                known_hosts=known,
                server_host_key_algs=client.host_keys.algorithms(known),
                preferred_auth="publickey" if keys else "keyboard-interactive,password",
                compression_algs=None,
                encryption_algs=CIPHERS,
                login_timeout=0,  # asyncssh reports its own timeout as a dropped connection
                keepalive_interval=KEEPALIVE_INTERVAL,
                keepalive_count_max=KEEPALIVE_MISSES,
            )
        skip_ignore_packets(connection)
        return connection


def _too_many_wait(cluster: Cluster, turn: Turn) -> ResopError:
    waiting = f"too many logins wait for a connection to {cluster.name}"
    if turn.rank is Rank.KEY:
        return ClusterUnreachable(f"{waiting}: try again in a minute")
    return LimitReached(
        f"{waiting}: try again in {LOGIN_RETRY_SECONDS} s",
        retry_after=LOGIN_RETRY_SECONDS,
        limit="waiting_logins",
    )


def _explain(fault: Exception, cluster: Cluster, client: _Client, with_key: bool) -> ResopError:
    where = f"{cluster.name} ({cluster.address}:{cluster.ssh_port})"
    reason = str(fault) or type(fault).__name__
    if client.wrong_host_key:
        return HostKeyMismatch(
            f"{where} presented the host key {client.wrong_host_key}, which is not the known one: "
            "nothing was sent"
        )
    if isinstance(fault, asyncssh.HostKeyNotVerifiable):
        return HostKeyMismatch(f"{where}: {reason}: nothing was sent")
    if isinstance(fault, SASLPrepError):  # RFC 4013: a prohibited character
        return LoginRefused(f"the user name or password cannot be sent: {reason}")
    if _is_refusal(fault):
        return _refusal(cluster, client, with_key)
    if isinstance(fault, TimeoutError):
        return ClusterUnreachable(f"{where} does not answer")
    return ClusterUnreachable(f"{where} cannot be reached: {reason}")


def _is_refusal(fault: Exception) -> bool:
    if isinstance(fault, asyncssh.DisconnectError):  # sshd's message at its MaxAuthTries
        return (
            isinstance(fault, asyncssh.PermissionDenied)
            or "authentication failures" in fault.reason
        )
    return False


def _refusal(cluster: Cluster, client: _Client, with_key: bool) -> ResopError:
    if with_key:
        return KeyRefused()
    if client.password_expired:
        return PasswordExpired(f"the password has expired: change it on {cluster.name} first")
    if client.otp_missing:
        return OtpRequired()
    if client.has_otp:
        return LoginRefused("the cluster refused this user name, password or one-time code")
    return LoginRefused()
