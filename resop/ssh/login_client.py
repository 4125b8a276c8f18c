"""Answer one server while it asks who logs in, within the time that it has for each question."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import asyncssh

from resop.ssh.asyncssh_workarounds import prompts_were_accepted
from resop.ssh.host_keys import HostKeys
from resop.ssh.known_hosts import KnownKeys
from resop.ssh.login_answers import LoginAnswers, LoginSecrets
from resop.ssh.server_greeting import ServerGreeting

CONNECT_TIMEOUT = 10.0
"""Seconds until the server shows its host key; then it has LOGIN_SECONDS for each question."""
UserKey = asyncssh.SSHKey | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]
"""A key that logs in, with its certificate if it has one."""

_KEY_END = b"-----END OPENSSH PRIVATE KEY-----\n"


class LoginClient(asyncssh.SSHClient):
    """Answers the server's questions at login, and watches the time that it takes."""

    def __init__(
        self, host_keys: HostKeys, login: LoginSecrets, seconds: float, key: UserKey | None = None
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

    def public_key_auth_requested(self) -> list[UserKey] | None:
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


def read_key(private_key: bytes) -> UserKey:
    """Read a private key, with the certificate that follows it, if any."""
    head, end, certificate = private_key.partition(_KEY_END)
    key = asyncssh.import_private_key(head + end)
    return (key, asyncssh.import_certificate(certificate)) if certificate.strip() else key
