"""Opens SSH connections: paced, with the host key verified before anything is sent."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import asyncssh

from resop.errors import (
    ClusterUnreachable,
    HostKeyMismatch,
    KeyRefused,
    LoginRefused,
    OtpRequired,
    ResopError,
)
from resop.hostkeys import Believes, believer
from resop.settings import Cluster, Settings

CONNECT_SECONDS = 10
LOGIN_SECONDS = 30
KEEPALIVE_SECONDS = 10
KEEPALIVE_MISSES = 2  # so that a dead peer is noticed within 30 s

# OpenSSH drops connections at random from 10 unauthenticated ones on (MaxStartups 10:30:100).
HANDSHAKES_AT_ONCE = 5
TRIES = 5
FIRST_PAUSE = 0.3


class _Client(asyncssh.SSHClient):
    """Answers what the server asks at login, each thing once: a password is tried one time."""

    def __init__(self, believes: Believes, password: str | None, otp: str | None) -> None:
        self._believes = believes
        self._password = password
        self._otp = otp
        self.asked = False
        self.otp_missing = False
        self.password_expired = False
        self.wrong_host_key: str | None = None

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        if self._believes(key):
            return True
        self.wrong_host_key = key.get_fingerprint()
        return False

    def password_auth_requested(self) -> str | None:
        return self._take_password()

    def password_change_requested(self, prompt: str, lang: str) -> tuple[str, str]:
        self.password_expired = True
        raise asyncssh.PermissionDenied("the password has expired")

    def kbdint_auth_requested(self) -> str | None:
        return "" if self._password is not None else None

    def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        answers = []
        for prompt, _ in prompts:
            answer = self._take_password() if _asks_password(prompt) else self._take_otp()
            if answer is None:
                return None
            answers.append(answer)
        return answers

    def _take_password(self) -> str | None:
        self.asked = True
        given, self._password = self._password, None
        return given

    def _take_otp(self) -> str | None:
        given, self._otp = self._otp, None
        self.otp_missing = given is None
        return given


def _asks_password(prompt: str) -> bool:
    asked = prompt.lower()
    return "password" in asked and not any(word in asked for word in ("one-time", "otp", "token"))


class Connector:
    """Opens connections to the configured clusters."""

    def __init__(self, settings: Settings) -> None:
        self._believers = {
            cluster.name: believer(cluster, settings) for cluster in settings.clusters().values()
        }
        self._pace = {name: asyncio.Semaphore(HANDSHAKES_AT_ONCE) for name in self._believers}

    async def with_password(
        self, cluster: Cluster, username: str, password: str, otp: str | None
    ) -> asyncssh.SSHClientConnection:
        """Log in with a password and, where the cluster asks for it, a one-time code.

        Raises LoginRefused, OtpRequired, HostKeyMismatch or ClusterUnreachable.
        """

        def client() -> _Client:
            return _Client(self._believers[cluster.name], password, otp)

        return await self._paced(cluster, username, client, ())

    async def with_key(
        self, cluster: Cluster, username: str, private_key: bytes
    ) -> asyncssh.SSHClientConnection:
        """Log in with a private key (OpenSSH format).

        Raises KeyRefused, HostKeyMismatch or ClusterUnreachable.
        """
        key = asyncssh.import_private_key(private_key)

        def client() -> _Client:
            return _Client(self._believers[cluster.name], None, None)

        return await self._paced(cluster, username, client, [key])

    async def _paced(
        self,
        cluster: Cluster,
        username: str,
        new_client: Callable[[], _Client],
        keys: Sequence[asyncssh.SSHKey],
    ) -> asyncssh.SSHClientConnection:
        for attempt in range(TRIES):
            client = new_client()
            try:
                async with self._pace[cluster.name]:
                    return await self._connect(cluster, username, client, keys)
            except (OSError, asyncssh.Error) as fault:
                error = _explain(fault, cluster, client, with_key=bool(keys))
                # Before a password was asked for, a dropped connection is MaxStartups at work.
                dropped = isinstance(fault, ConnectionError | asyncssh.ConnectionLost)
                refused = isinstance(fault, ConnectionRefusedError)
                if not dropped or refused or client.asked or attempt == TRIES - 1:
                    raise error from fault
            await asyncio.sleep(FIRST_PAUSE * 2**attempt * random.uniform(0.5, 1.5))
        raise AssertionError("unreachable")

    async def _connect(
        self,
        cluster: Cluster,
        username: str,
        client: _Client,
        keys: Sequence[asyncssh.SSHKey],
    ) -> asyncssh.SSHClientConnection:
        return await asyncssh.connect(
            cluster.address,
            cluster.ssh_port,
            username=username,
            client_factory=lambda: client,
            # Nothing of the account that runs resop: no ssh_config, no agent, no keys of its own.
            config=None,
            agent_path=None,
            client_keys=list(keys) or None,
            gss_host=None,
            x509_trusted_certs=None,
            known_hosts=([], [], []),
            preferred_auth="publickey" if keys else "keyboard-interactive,password",
            compression_algs=None,
            connect_timeout=CONNECT_SECONDS,
            login_timeout=LOGIN_SECONDS,
            keepalive_interval=KEEPALIVE_SECONDS,
            keepalive_count_max=KEEPALIVE_MISSES,
        )


def _explain(
    fault: OSError | asyncssh.Error, cluster: Cluster, client: _Client, with_key: bool
) -> ResopError:
    where = f"{cluster.name} ({cluster.address}:{cluster.ssh_port})"
    if client.wrong_host_key:
        return HostKeyMismatch(
            f"{where} shows the host key {client.wrong_host_key}, which is not the known one: "
            "nothing was sent"
        )
    if isinstance(fault, asyncssh.PermissionDenied):
        if with_key:
            return KeyRefused()
        if client.password_expired:
            return LoginRefused(f"the password has expired: change it on {cluster.name} first")
        if client.otp_missing:
            return OtpRequired()
        return LoginRefused()
    if isinstance(fault, TimeoutError):
        return ClusterUnreachable(f"{where} does not answer")
    reason = str(fault) or type(fault).__name__
    return ClusterUnreachable(f"{where} cannot be reached: {reason}")
