"""Opens SSH connections: paced, with the host key verified before anything is sent."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence

import asyncssh
from asyncssh.saslprep import SASLPrepError

from resop.config.settings import Cluster, Settings
from resop.errors import (
    ClusterUnreachable,
    HostKeyMismatch,
    KeyRefused,
    LoginRefused,
    OtpRequired,
    PasswordExpired,
    ResopError,
)
from resop.ssh.asyncssh_workarounds import skip_ignore_packets
from resop.ssh.host_keys import HostKeys, host_keys

CONNECT_SECONDS = 10.0
"""For the way to the first question; for all of it where a key answers."""
LOGIN_SECONDS = 30.0
"""For what the server does with each answer, such as asking a phone."""
KEEPALIVE_SECONDS = 8
KEEPALIVE_MISSES = 2  # so that a dead peer is noticed within 30 s

# OpenSSH drops connections at random from 10 unauthenticated ones on (MaxStartups 10:30:100).
HANDSHAKES_AT_ONCE = 5
PACE_SECONDS = 30.0
TRIES = 5
FIRST_PAUSE = 0.3
CIPHERS = "^aes256-gcm@openssh.com,aes128-gcm@openssh.com"
"""First of all: half the time of chacha20-poly1305, the first choice otherwise, for large files."""

# How servers word their prompts; what fits neither is taken for a code.
_PASSWORD = re.compile(
    "password|passphrase|passwort|kennwort|mot de passe|contraseña|senha|wachtwoord|lösenord|"
    "hasło|пароль|密码|密碼|パスワード",
    re.IGNORECASE,
)
_CODE = re.compile(r"one.?time|otp|token|code|authenticator|\bpin\b", re.IGNORECASE)
_NEW = re.compile(r"\b(new|retype|current|neues|nouveau|nueva)\b", re.IGNORECASE)
# What PAM says of a right password that is too old (pam_unix, pam_ldap, sssd).
_EXPIRED = re.compile(
    "password (has |is )?(been )?expired|change your password|password must be changed",
    re.IGNORECASE,
)


_KEY_END = b"-----END OPENSSH PRIVATE KEY-----\n"
_Key = asyncssh.SSHKey | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]


class _Client(asyncssh.SSHClient):
    """Answers what the server asks at login, each thing once: a password is tried one time."""

    def __init__(self, keys: HostKeys, password: str | None, otp: str | None) -> None:
        self.host_keys = keys
        self.patience: asyncio.Timeout | None = None
        self._password = password
        self._password_sent = False
        self._otp = otp
        self.otp_given = otp is not None
        self.asked = False
        self.otp_missing = False
        self.password_expired = False
        self.wrong_host_key: str | None = None

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        if self.host_keys.believes(key):
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
        # Tried first where it is offered at all: offered after the password was sent by the
        # other method, it is the second factor. After a refusal it is not tried again.
        return "" if self._password is not None or self._password_sent else None

    def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        # Said before the password was sent, it is what the server tells everybody.
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
        if self.otp_given and self._otp is None and not _CODE.search(prompt):
            return self._take_password()  # of two prompts in unknown words, it is the second
        return self._take_otp()

    def _take_password(self) -> str | None:
        self._was_asked()
        given, self._password = self._password, None
        return given

    def _take_otp(self) -> str | None:
        self._was_asked()
        given, self._otp = self._otp, None
        self.otp_missing = not self.otp_given
        return given

    def _was_asked(self) -> None:
        self.asked = True
        if self.patience is not None and not self.patience.expired():
            self.patience.reschedule(asyncio.get_running_loop().time() + LOGIN_SECONDS)


def _asks_password(prompt: str) -> bool:
    return bool(_PASSWORD.search(prompt)) and not _CODE.search(prompt)


class Connector:
    """Opens connections to the configured clusters."""

    def __init__(self, settings: Settings) -> None:
        self._host_keys = {
            cluster.name: host_keys(cluster, settings) for cluster in settings.clusters().values()
        }
        self._pace = {name: asyncio.Semaphore(HANDSHAKES_AT_ONCE) for name in self._host_keys}

    async def with_password(
        self, cluster: Cluster, username: str, password: str, otp: str | None
    ) -> asyncssh.SSHClientConnection:
        """Log in with a password and, where the cluster asks for it, a one-time code.

        Raises LoginRefused, PasswordExpired, OtpRequired, HostKeyMismatch or ClusterUnreachable.
        """

        def client() -> _Client:
            return _Client(self._host_keys[cluster.name], password, otp)

        return await self._paced(cluster, username, client, ())

    async def with_key(
        self, cluster: Cluster, username: str, private_key: bytes
    ) -> asyncssh.SSHClientConnection:
        """Log in with a private key (OpenSSH format), its certificate behind it if it has one.

        Raises KeyRefused, HostKeyMismatch or ClusterUnreachable.
        """
        head, end, certificate = private_key.partition(_KEY_END)
        key = asyncssh.import_private_key(head + end)

        def client() -> _Client:
            return _Client(self._host_keys[cluster.name], None, None)

        shown = (key, asyncssh.import_certificate(certificate)) if certificate.strip() else key
        return await self._paced(cluster, username, client, [shown])

    async def _paced(
        self,
        cluster: Cluster,
        username: str,
        new_client: Callable[[], _Client],
        keys: Sequence[_Key],
    ) -> asyncssh.SSHClientConnection:
        attempt, began = 0, time.monotonic()
        while True:
            attempt, client = attempt + 1, new_client()
            try:
                async with self._handshake(cluster):
                    return await self._connect(cluster, username, client, keys)
            except ResopError:
                raise
            except Exception as fault:  # asyncssh passes on whatever goes wrong inside
                error = _explain(fault, cluster, client, with_key=bool(keys))
                # Before a password was asked for, a dropped connection is MaxStartups at work.
                dropped = isinstance(fault, ConnectionError | asyncssh.ConnectionLost)
                refused = isinstance(fault, ConnectionRefusedError)
                late = attempt == TRIES or time.monotonic() - began > CONNECT_SECONDS
                if not dropped or refused or client.asked or late:
                    raise error from fault
            await asyncio.sleep(FIRST_PAUSE * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))

    @contextlib.asynccontextmanager
    async def _handshake(self, cluster: Cluster) -> AsyncIterator[None]:
        """One of the handshakes that may go on at once."""
        pace = self._pace[cluster.name]
        try:
            async with asyncio.timeout(PACE_SECONDS):
                await pace.acquire()
        except TimeoutError:
            raise ClusterUnreachable(f"too many wait for a connection to {cluster.name}") from None
        try:
            yield
        finally:
            pace.release()

    async def _connect(
        self,
        cluster: Cluster,
        username: str,
        client: _Client,
        keys: Sequence[_Key],
    ) -> asyncssh.SSHClientConnection:
        known = client.host_keys.listed()
        async with asyncio.timeout(CONNECT_SECONDS) as client.patience:
            connection = await asyncssh.connect(
                cluster.address,
                cluster.ssh_port,
                username=username,
                client_factory=lambda: client,
                # Nothing of the account that runs resop: no ssh_config, no agent, no own keys.
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
                login_timeout=0,  # asyncssh's own would read as a connection that was dropped
                keepalive_interval=KEEPALIVE_SECONDS,
                keepalive_count_max=KEEPALIVE_MISSES,
            )
        skip_ignore_packets(connection)
        return connection


def _explain(fault: Exception, cluster: Cluster, client: _Client, with_key: bool) -> ResopError:
    where = f"{cluster.name} ({cluster.address}:{cluster.ssh_port})"
    reason = str(fault) or type(fault).__name__
    if client.wrong_host_key:
        return HostKeyMismatch(
            f"{where} shows the host key {client.wrong_host_key}, which is not the known one: "
            "nothing was sent"
        )
    if isinstance(fault, asyncssh.HostKeyNotVerifiable):
        return HostKeyMismatch(f"{where}: {reason}: nothing was sent")
    if isinstance(fault, SASLPrepError):  # RFC 4013: what no user name or password contains
        return LoginRefused(f"the user name or password cannot be sent: {reason}")
    if _is_refusal(fault):
        return _refusal(cluster, client, with_key)
    if isinstance(fault, TimeoutError):
        return ClusterUnreachable(f"{where} does not answer")
    return ClusterUnreachable(f"{where} cannot be reached: {reason}")


def _is_refusal(fault: Exception) -> bool:
    if isinstance(fault, asyncssh.DisconnectError):  # sshd's words at its MaxAuthTries
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
    if client.otp_given:
        return LoginRefused("the cluster refused this user name, password or one-time code")
    return LoginRefused()
