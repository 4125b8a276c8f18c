"""The kinds of credential that a login can create, and how each is created and revoked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Protocol, TypeVar

import asyncssh
from starlette.concurrency import run_in_threadpool

from api.auth.surplus_logins import end_surplus_logins
from api.state.services import Services
from resop.config.clusters import Cluster
from resop.errors import (
    ClusterError,
    KeyRefused,
    LoginRefused,
    RecordsUnavailable,
    ResopError,
)
from resop.security.certificate_serial import certificate_serial
from resop.security.tokens import Token
from resop.ssh.authorized_keys import KeyLine, NodeClock, add_line, remove_lines
from resop.ssh.authorized_keys_editor import edit_authorized_keys
from resop.ssh.handshake_queue import KEY_TURN, QueuePlace
from resop.ssh.remote_account import RemoteAccount, differs, fetch_account
from resop.storage.models import Credential, now

log = logging.getLogger(__name__)

KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256")
"""The types of keys that are made: the second for clusters under FIPS 140, without Ed25519."""
T = TypeVar("T")
CLEAN_UP_SECONDS = 30.0
"""How long a failed login tries to remove its key line."""


@dataclass(frozen=True, slots=True)
class LoginData:
    """The login data of a user, and the key share that the token will hold."""

    cluster: Cluster
    username: str
    password: str | None
    """None for a login by a trusted issuer's token, and for an API key."""
    otp: str | None
    key_share: str
    turn: QueuePlace = KEY_TURN
    """The login's place among the handshakes with the cluster."""
    private_key: bytes | None = None
    """The key of the login with which an API key is made."""
    minimum_uid: int = 0
    """The lowest number that the account may have, if a trusted issuer has named it."""

    def __repr__(self) -> str:
        return f"LoginData({self.username!r}, {self.cluster.name!r})"


class CredentialKind(Protocol):
    """One kind of credential."""

    async def create(self, login: LoginData, credential: Credential) -> None:
        """Log in, and store in `credential` what reopens a session.

        Sets the credential's canonical `username`, its `uid` and, if the policy needs them, its
        groups. Raises what `Connector.with_password` raises, IdentityUnknown if it is not certain
        who has logged in, and ClusterError if the cluster does not accept a credential of this
        kind.
        """

    async def revoke(self, token: Token, credential: Credential, revoked: str) -> None:
        """Remove what `create` left on the cluster for the credential with the id `revoked`.

        `token` and `credential` belong to a login of the same user that is still valid there: the
        one that ends, or the one that deletes an API key. Raises ResopError if something remains.
        """


class InstalledKey:
    """A key pair whose public key is a line in the user's authorized_keys."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def create(self, login: LoginData, credential: Credential) -> None:
        """Install a new key; the login succeeds only if that key opens a connection."""
        services = self._services
        async with await open_connection(services, login) as connection:
            account = await fetch_account(connection, login.cluster.name)

            async def install(key: asyncssh.SSHKey) -> tuple[RemoteAccount, bytes]:
                return await self._install(connection, login, account, credential, key)

            try:
                account, private = await first_accepted(services, login.cluster, install)
            except KeyRefused as fault:
                raise _key_not_accepted(login.cluster.name, fault) from fault
        store_account(services, account, credential)
        credential.encrypted_key = services.access.encryptor.encrypt_key(
            private, credential.id, login.key_share
        )

    async def _install(
        self,
        connection: asyncssh.SSHClientConnection,
        login: LoginData,
        account: RemoteAccount,
        credential: Credential,
        key: asyncssh.SSHKey,
    ) -> tuple[RemoteAccount, bytes]:
        """Install a key; return the account as sshd confirms it, and the private key."""
        private = key.export_private_key("openssh")
        credential.public_key = key.export_public_key("openssh").decode().strip()
        line = _NewLine(self._services, credential)
        try:
            await edit_authorized_keys(connection, line.add)
            account = await self._confirm(login, account, private)
            if login.private_key is None:
                await self._make_room(connection, account.username, credential.cluster)
        except BaseException:
            if line.may_be_written:
                await self._clean_up(connection, login, private, credential.id)
            raise
        return account, private

    async def _clean_up(
        self,
        connection: asyncssh.SSHClientConnection,
        login: LoginData,
        private: bytes,
        credential: str,
    ) -> None:
        """Remove the line of a login that failed, over its key if the connection is gone."""
        lines = [credential]
        try:
            async with asyncio.timeout(CLEAN_UP_SECONDS):
                if not connection.is_closed():
                    return await self._remove_lines(connection, lines)
                with_key = self._services.access.connector.with_key
                async with await with_key(login.cluster, login.username, private) as another:
                    return await self._remove_lines(another, lines)
        except (ResopError, asyncssh.Error, OSError) as fault:  # TimeoutError is an OSError
            reason = fault.message if isinstance(fault, ResopError) else type(fault).__name__
            log.warning("the key line of a failed login stays until it expires: %s", reason)

    async def _confirm(
        self, login: LoginData, account: RemoteAccount, private: bytes
    ) -> RemoteAccount:
        """Return the account with the name under which sshd accepts the new key.

        Raises KeyRefused, and IdentityUnknown if sshd accepts no name but the one typed at login.
        """
        access, cluster = self._services.access, login.cluster
        refused = KeyRefused()

        async def accepts(name: str) -> bool:
            nonlocal refused
            try:
                (await access.connector.with_key(cluster, name, private)).close()
            except KeyRefused as fault:
                refused = fault
                return False
            return True

        name = await access.canonical_names.find(cluster.name, account.username, accepts)
        if name is not None:
            return replace(account, username=name)
        if account.username == login.username:
            raise refused
        raise differs(cluster.name, account.username)

    async def revoke(self, token: Token, credential: Credential, revoked: str) -> None:
        """Remove the line, over a connection that the login's own key opens."""
        services = self._services
        key = private_key(services, token, credential)
        cluster = services.settings.cluster(token.cluster)
        async with await services.access.connector.with_key(
            cluster, token.username, key
        ) as connection:
            # Nobody else can remove the lines of logins that were ended from afar.
            erased = services.storage.credentials.erased
            try:
                ended = await run_in_threadpool(erased, token.username, token.cluster)
            except RecordsUnavailable:  # perhaps why this login failed
                ended = []
            await self._remove_lines(connection, [revoked, *ended])

    async def _make_room(
        self, connection: asyncssh.SSHClientConnection, username: str, cluster: str
    ) -> None:
        """Make room for one more login of a user, and remove the lines of the ended ones."""
        if await make_room(self._services, username, cluster):
            erased = self._services.storage.credentials.erased
            await self._remove_lines(connection, await run_in_threadpool(erased, username, cluster))

    async def _remove_lines(
        self, connection: asyncssh.SSHClientConnection, credentials: Collection[str]
    ) -> None:
        instances = self._services.access.encryptor.instances
        await edit_authorized_keys(
            connection, lambda content, clock: remove_lines(content, instances, credentials, clock)
        )


class _NewLine:
    """The line of a new key, and whether it may be in the file already."""

    def __init__(self, services: Services, credential: Credential) -> None:
        self._services = services
        self._credential = credential
        self._lifetime = credential.expires_at - now()
        self.may_be_written = False

    def add(self, content: bytes, clock: NodeClock) -> bytes:
        """Return the content of authorized_keys with the line."""
        self.may_be_written = True
        encryptor, credential = self._services.access.encryptor, self._credential
        line = KeyLine(
            credential.public_key,
            encryptor.instance,
            credential.id,
            clock.stamp(clock.now + self._lifetime),
            self._services.settings.ssh_sources,
        )
        return add_line(content, line, clock, encryptor.instances)


def _key_not_accepted(cluster: str, refused: KeyRefused) -> ClusterError:
    """Return the error for a login with the right password, after which its key does not open."""
    if refused.details.get("another_factor"):
        return ClusterError(
            f"{cluster} accepts a key only together with another factor, such as a one-time code: "
            "the administrator of this service has to set CLUSTER_LOGIN=held"
        )
    return ClusterError(
        f"the password is correct, but {cluster} does not accept a key in ~/.ssh/authorized_keys: "
        "either your home folder or that file is writable by others (then run 'chmod go-w ~ ~/.ssh "
        "~/.ssh/authorized_keys'), or its sshd takes no keys or reads another file "
        "(PubkeyAuthentication, AuthorizedKeysFile; then the administrator of this service has to "
        "set CLUSTER_LOGIN=held or certificate)"
    )


class HeldConnection:
    """The connection that was opened at login, held by a worker."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def create(self, login: LoginData, credential: Credential) -> None:
        """Have a worker log in and hold the connection; the cluster stores nothing."""
        credential.worker, account = await self._services.access.worker_logins.log_in(
            {
                "cluster": login.cluster.name,
                "username": login.username,
                "password": login.password,
                "otp": login.otp,
                "credential": credential.id,
                "turn": asdict(login.turn),
            }
        )
        store_account(self._services, account, credential)
        # If there is no room, the worker closes a connection that no login was recorded for.
        await make_room(self._services, credential.username, credential.cluster)

    async def revoke(self, token: Token, credential: Credential, revoked: str) -> None:
        """Do nothing: the worker closes the connection when it receives the logout message."""


class Certificate:
    """A key pair with a certificate from the site's user CA; the cluster stores nothing."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def create(self, login: LoginData, credential: Credential) -> None:
        """Sign a certificate, after checking the password if the login has one."""
        services = self._services
        assert services.access.user_ca is not None
        username = login.username
        if login.password is not None:
            connection, account = await services.access.connector.account_with_password(
                login.cluster, username, login.password, login.otp, login.turn
            )
            connection.close()
            username = account.username

        async def sign(key: asyncssh.SSHKey) -> tuple[RemoteAccount, bytes]:
            return await self._sign(login, username, credential, key)

        try:
            account, key_with_certificate = await first_accepted(services, login.cluster, sign)
        except KeyRefused as fault:
            if fault.details.get("another_factor"):
                raise _key_not_accepted(login.cluster.name, fault) from fault
            raise ClusterError(
                f"{login.cluster.name} does not accept certificates signed with USER_CA_KEY: its "
                "administrator must add the public key to the file that TrustedUserCAKeys in "
                "sshd_config names"
            ) from fault
        if account.username != username:
            raise differs(login.cluster.name, account.username)
        if account.uid < login.minimum_uid:
            raise LoginRefused(
                f"the account has the number {account.uid} on {login.cluster.name}: only accounts "
                "of persons can log in by token"
            )
        store_account(services, account, credential)
        if login.private_key is None:
            await make_room(services, credential.username, credential.cluster)
        credential.encrypted_key = services.access.encryptor.encrypt_key(
            key_with_certificate, credential.id, login.key_share
        )

    async def _sign(
        self, login: LoginData, username: str, credential: Credential, key: asyncssh.SSHKey
    ) -> tuple[RemoteAccount, bytes]:
        """Sign a certificate; return the account that it opens, and the key with it."""
        services = self._services
        assert services.access.user_ca is not None
        credential.public_key = key.export_public_key("openssh").decode().strip()
        name = f"resop:{services.access.encryptor.instance}:{credential.id}"
        expires = credential.expires_at.timestamp()
        certificate = services.access.user_ca.sign(
            key, username, name, certificate_serial(credential.id), expires
        )
        key_with_certificate = key.export_private_key("openssh") + certificate
        async with await services.access.connector.with_key(
            login.cluster, username, key_with_certificate
        ) as connection:
            account = await fetch_account(connection, login.cluster.name)
        return account, key_with_certificate

    async def revoke(self, token: Token, credential: Credential, revoked: str) -> None:
        """Do nothing: the certificate is useless without the private key, which is deleted."""


async def first_accepted(
    services: Services, cluster: Cluster, use: Callable[[asyncssh.SSHKey], Awaitable[T]]
) -> T:
    """Use new keys of several types until the cluster accepts one; return what `use` returns.

    Begins with the type that the cluster accepted last. Raises KeyRefused if it accepts none.
    """
    known = services.access.connector.key_types
    kind, other = sorted(KEY_TYPES, key=lambda each: each != known.get(cluster.name))
    try:
        result = await use(asyncssh.generate_private_key(kind))
    except KeyRefused as fault:
        if fault.details.get("another_factor"):
            raise
        kind = other
        result = await use(asyncssh.generate_private_key(kind))
    known[cluster.name] = kind
    return result


async def make_room(services: Services, username: str, cluster: str) -> bool:
    """Make room for one more login of a user; return True if logins were ended for it.

    `username` is the name that sshd has confirmed: `id` may have printed the name of somebody else.
    Raises LimitReached.
    """
    most = services.settings.LOGINS_PER_USER - 1
    return await end_surplus_logins(services, username, cluster, most)


def store_account(services: Services, account: RemoteAccount, credential: Credential) -> None:
    """Store in the credential whose it is, with the groups if the policy depends on them."""
    credential.username, credential.uid = account.username, account.uid
    if services.access.permissions.policy.asks_groups:
        credential.remote_groups = account.groups or None


async def open_connection(services: Services, login: LoginData) -> asyncssh.SSHClientConnection:
    """Open a connection with the login's password, or with the key of an earlier login."""
    if login.private_key is not None:
        return await services.access.connector.with_key(
            login.cluster, login.username, login.private_key
        )
    assert login.password is not None
    return await services.access.connector.with_password(
        login.cluster, login.username, login.password, login.otp, login.turn
    )


def private_key(services: Services, token: Token, credential: Credential) -> bytes:
    """Decrypt the private key of a login. Raises KeyRefused if it was erased."""
    if credential.encrypted_key is None:
        raise KeyRefused("the key had already been removed")
    return services.access.encryptor.decrypt_key(
        credential.encrypted_key, credential.id, token.key_share
    )


CREDENTIAL_KINDS: Mapping[str, Callable[[Services], CredentialKind]] = {
    "key": InstalledKey,
    "held": HeldConnection,
    "certificate": Certificate,
}
"""The kinds by the value of a cluster's `login`, which is also a credential's `kind`."""
