"""Logs users in and out, in this process: a password is never queued, stored or logged."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

import asyncssh
import redis
import uuid_utils
from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.breaker import Breaker
from api.deps import login_of
from api.keyfile import edit_authorized_keys
from api.services import Services
from resop.authorized_keys import KeyLine, added, removed
from resop.errors import (
    ClusterError,
    InvalidOptions,
    KeyRefused,
    LoginRefused,
    OtpRequired,
    PasswordExpired,
    ResopError,
    UnknownAction,
)
from resop.events import LOGGED_OUT
from resop.logs import say
from resop.records import Credential, now
from resop.settings import Cluster
from resop.tokens import Token, new_half
from resop.types import Secret

log = logging.getLogger(__name__)

KEY_TYPE = "ssh-ed25519"


class ApiGate:
    """The gate of one request."""

    def __init__(self, services: Services, request: Request) -> None:
        self._services = services
        self._request = request

    async def log_in(
        self, username: str, password: Secret, otp: Secret | None, cluster: str | None
    ) -> dict[str, Any]:
        """Log in over SSH, leave a key of our own there, and return a token."""
        target = self._cluster(cluster)
        breaker = Breaker(self._services.redis, username, target.name, self._client_address())
        await breaker.check()
        try:
            connection = await self._services.connector.with_password(
                target,
                username,
                password.get_secret_value(),
                otp.get_secret_value() if otp else None,
            )
        except (LoginRefused, PasswordExpired, OtpRequired):
            await breaker.failed()
            raise
        self._request.state.username = username
        async with connection:
            token = await self._leave_key(connection, target, username)
        say(log, "login", user=username, cluster=target.name, credential=token.credential)
        return {
            "token": self._services.sealer.issue(token),
            "username": username,
            "cluster": target.name,
            "expires_at": _iso(token),
        }

    async def log_out(self) -> dict[str, Any]:
        """Refuse the token from now on, then take its key off the cluster."""
        token = await login_of(self._request, self._services)
        credential = await run_in_threadpool(self._services.records.credential, token.credential)
        await run_in_threadpool(self._services.records.revoke, token.credential)
        await self._tell_logged_out(token.credential)
        answer: dict[str, Any] = {"username": token.username, "cluster": token.cluster}
        try:
            if credential is None or credential.sealed_key is None:
                raise KeyRefused("the key was already gone")
            key = self._services.sealer.unseal_key(credential.sealed_key, credential.id, token.half)
            await self._take_key_off(token, key)
        except ResopError as fault:
            reason = f"{fault.message}; it ends by itself at {_iso(token)}"
            return {**answer, "key_removed": False, "reason": reason}
        return {**answer, "key_removed": True}

    async def _tell_logged_out(self, credential: str) -> None:
        self._services.logins.hear(credential)
        try:
            await self._services.redis.publish(LOGGED_OUT, credential)
        except (redis.RedisError, OSError):
            # The other API processes have lost Redis too, and so ask the record each time.
            log.warning("nobody was told of a logout: Redis is away")

    async def _leave_key(
        self, connection: asyncssh.SSHClientConnection, cluster: Cluster, username: str
    ) -> Token:
        services = self._services
        key = asyncssh.generate_private_key(KEY_TYPE)
        public = key.export_public_key("openssh").decode().strip()
        credential_id, half = str(uuid_utils.uuid7()), new_half()
        lifetime = timedelta(hours=services.settings.TOKEN_HOURS)
        expires = now() + lifetime

        def with_line(content: bytes, node_time: datetime) -> bytes:
            ends = node_time + lifetime
            line = KeyLine(public, services.sealer.instance, credential_id, ends)
            return added(content, line, node_time)

        await edit_authorized_keys(connection, with_line)
        private = key.export_private_key("openssh")
        await self._try_key(connection, cluster, username, private, credential_id)
        credential = Credential(
            id=credential_id,
            username=username,
            cluster=cluster.name,
            public_key=public,
            sealed_key=services.sealer.seal_key(private, credential_id, half),
            expires_at=expires,
        )
        await run_in_threadpool(services.records.add_credential, credential)
        return Token(username, cluster.name, credential_id, half, int(expires.timestamp()))

    async def _try_key(
        self,
        connection: asyncssh.SSHClientConnection,
        cluster: Cluster,
        username: str,
        private: bytes,
        credential_id: str,
    ) -> None:
        """A login is answered only when its key opens a session; else the key is taken back."""
        try:
            async with await self._services.connector.with_key(cluster, username, private):
                return
        except KeyRefused as fault:
            await self._remove_line(connection, credential_id)
            raise ClusterError(
                f"the password is right, but {cluster.name} does not accept a key from "
                "~/.ssh/authorized_keys alone: it wants a code at every connection, or the home "
                "folder or the file is writable by others"
            ) from fault

    async def _take_key_off(self, token: Token, private: bytes) -> None:
        cluster = self._services.settings.cluster(token.cluster)
        async with await self._services.connector.with_key(
            cluster, token.username, private
        ) as connection:
            await self._remove_line(connection, token.credential)

    async def _remove_line(
        self, connection: asyncssh.SSHClientConnection, credential_id: str
    ) -> None:
        instance = self._services.sealer.instance
        await edit_authorized_keys(
            connection, lambda content, time: removed(content, instance, credential_id, time)
        )

    def _cluster(self, name: str | None) -> Cluster:
        try:
            return self._services.settings.cluster(name)
        except UnknownAction as fault:
            raise InvalidOptions([{"field": "cluster", "message": fault.message}]) from None

    def _client_address(self) -> str:
        return self._request.client.host if self._request.client else "local"


def _iso(token: Token) -> str:
    return token.expires_at.isoformat().replace("+00:00", "Z")
