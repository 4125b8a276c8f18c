"""The kinds of credential that a login can leave, each made and taken back in its own way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import asyncssh

from api.state.services import Services
from resop.config.settings import Cluster
from resop.errors import ClusterError, KeyRefused
from resop.security.tokens import Token
from resop.ssh.authorized_keys import KeyLine, added, removed
from resop.ssh.authorized_keys_editor import edit_authorized_keys
from resop.ssh.user_groups import groups_of
from resop.storage.models import Credential

KEY_TYPE = "ssh-ed25519"


@dataclass(frozen=True, slots=True)
class Login:
    """What somebody logs in with, and the half of the seal that the token will hold."""

    cluster: Cluster
    username: str
    password: str | None
    """None where a trusted issuer's token stands for it."""
    otp: str | None
    half: str

    def __repr__(self) -> str:
        return f"Login({self.username!r}, {self.cluster.name!r})"


class CredentialKind(Protocol):
    """One kind of credential."""

    async def make(self, login: Login, credential: Credential) -> None:
        """Log in, and put into `credential` what opens a session again.

        Raises what `Connector.with_password` raises, and ClusterError when the cluster takes no
        credential of this kind.
        """

    async def take_back(self, token: Token, credential: Credential) -> None:
        """Undo what `make` has left on the cluster; ResopError says what stays there."""


class InstalledKey:
    """A key pair, its public half a line in the user's authorized_keys."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def make(self, login: Login, credential: Credential) -> None:
        """Leave a key of ours there; a login is answered only when it opens a session."""
        services = self._services
        key = asyncssh.generate_private_key(KEY_TYPE)
        credential.public_key = key.export_public_key("openssh").decode().strip()
        lifetime = timedelta(hours=services.settings.TOKEN_HOURS)

        def with_line(content: bytes, node_time: datetime) -> bytes:
            sealer, ends = services.encryptor, node_time + lifetime
            line = KeyLine(credential.public_key, sealer.instance, credential.id, ends)
            return added(content, line, node_time, sealer.instances)

        private = key.export_private_key("openssh")
        async with await log_in(services, login) as connection:
            await note_groups(services, connection, credential)
            await edit_authorized_keys(connection, with_line)
            try:
                async with await services.connector.with_key(
                    login.cluster, login.username, private
                ):
                    pass
            except KeyRefused as fault:
                await self._remove_line(connection, credential.id)
                raise ClusterError(
                    f"the password is right, but {login.cluster.name} does not accept a key from "
                    "~/.ssh/authorized_keys alone: it wants a code at every connection (then "
                    "CLUSTER_LOGIN=held is for it), or the home folder or the file is writable "
                    "by others"
                ) from fault
        credential.encrypted_key = services.encryptor.encrypt_key(
            private, credential.id, login.half
        )

    async def take_back(self, token: Token, credential: Credential) -> None:
        """Take the line off, with the key itself."""
        services = self._services
        if credential.encrypted_key is None:
            raise KeyRefused("the key was already gone")
        key = services.encryptor.decrypt_key(
            credential.encrypted_key, credential.id, token.key_share
        )
        cluster = services.settings.cluster(token.cluster)
        async with await services.connector.with_key(cluster, token.username, key) as connection:
            await self._remove_line(connection, credential.id)

    async def _remove_line(
        self, connection: asyncssh.SSHClientConnection, credential_id: str
    ) -> None:
        instances = self._services.encryptor.instances
        await edit_authorized_keys(
            connection, lambda content, time: removed(content, instances, credential_id, time)
        )


class HeldConnection:
    """The very connection that was logged in, held by a worker."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def make(self, login: Login, credential: Credential) -> None:
        """Have a worker log in; nothing is left on the cluster."""
        credential.worker, credential.remote_groups = await self._services.worker_logins.log_in(
            {
                "cluster": login.cluster.name,
                "username": login.username,
                "password": login.password,
                "otp": login.otp,
                "credential": credential.id,
            }
        )

    async def take_back(self, token: Token, credential: Credential) -> None:
        """Nothing to do: its worker hears of the logout, and closes it."""


class Certificate:
    """A key pair with a certificate of the site's user CA; nothing is left on the cluster."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def make(self, login: Login, credential: Credential) -> None:
        """Sign a certificate for who has shown a password, or a token that is trusted."""
        services = self._services
        assert services.user_ca is not None
        if login.password is not None:
            (await log_in(services, login)).close()
        key = asyncssh.generate_private_key(KEY_TYPE)
        credential.public_key = key.export_public_key("openssh").decode().strip()
        name = f"resop:{services.encryptor.instance}:{credential.id}"
        expires = credential.expires_at.timestamp()
        certificate = services.user_ca.sign(key, login.username, name, expires)
        opens = key.export_private_key("openssh") + certificate
        try:
            async with await services.connector.with_key(
                login.cluster, login.username, opens
            ) as opened:
                await note_groups(services, opened, credential)
        except KeyRefused as fault:
            raise ClusterError(
                f"{login.cluster.name} does not accept certificates of this USER_CA_KEY: its "
                "public half is to stand in the file that sshd's TrustedUserCAKeys names"
            ) from fault
        credential.encrypted_key = services.encryptor.encrypt_key(opens, credential.id, login.half)

    async def take_back(self, token: Token, credential: Credential) -> None:
        """Nothing is on the cluster, and with its sealed key the certificate is useless."""


async def note_groups(
    services: Services, connection: asyncssh.SSHClientConnection, credential: Credential
) -> None:
    """Keep what groups the user has, where the policy asks for them."""
    if services.permissions.policy.asks_groups:
        credential.remote_groups = await groups_of(connection)


async def log_in(services: Services, login: Login) -> asyncssh.SSHClientConnection:
    """Log in with the password."""
    assert login.password is not None
    return await services.connector.with_password(
        login.cluster, login.username, login.password, login.otp
    )


CREDENTIAL_KINDS: Mapping[str, Callable[[Services], CredentialKind]] = {
    "key": InstalledKey,
    "held": HeldConnection,
    "certificate": Certificate,
}
"""By what a cluster's `login` says, and a credential's `kind`."""
