"""Logs users in and out, in this process: a password is never queued, stored or logged."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import redis
from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.auth.credentials import CREDENTIAL_KINDS, Login
from api.auth.dependencies import login_of
from api.state.login_throttle import LoginThrottle
from api.state.services import Services
from resop.config.logging import log_event
from resop.config.settings import Cluster
from resop.errors import (
    InvalidOptions,
    KeyRefused,
    LoginRefused,
    ResopError,
    UnknownAction,
)
from resop.messaging.publisher import LOGGED_OUT
from resop.security.tokens import Token, new_key_share
from resop.storage.ids import new_id
from resop.storage.models import Credential, now
from resop.types import Secret

log = logging.getLogger(__name__)


class ApiLoginGateway:
    """The gate of one request."""

    def __init__(self, services: Services, request: Request) -> None:
        self._services = services
        self._request = request

    async def log_in(
        self, username: str, password: Secret, otp: Secret | None, cluster: str | None
    ) -> dict[str, Any]:
        """Log in over SSH, leave a credential, and return a token."""
        target = self._cluster(cluster)
        self._request.state.claimed, self._request.state.cluster = username, target.name
        breaker = LoginThrottle(self._services.redis, username, target.name, self._client_address())
        code = otp.get_secret_value() if otp else None
        login = Login(target, username, password.get_secret_value(), code, new_key_share())
        async with breaker.attempt():
            return await self._finish(login)

    async def log_in_by_token(self, id_token: Secret, cluster: str | None) -> dict[str, Any]:
        """Log in whom a trusted issuer's token names, where that can be turned into a session."""
        target = self._cluster(cluster)
        if target.login != "certificate":
            raise LoginRefused(f"{target.name} takes no certificates: log in with a password")
        self._request.state.cluster = target.name
        text = id_token.get_secret_value()
        username = await run_in_threadpool(self._services.openid.user_of, text)
        self._request.state.claimed = username
        return await self._finish(Login(target, username, None, None, new_key_share()))

    async def _finish(self, login: Login) -> dict[str, Any]:
        """Make the credential and the token that stands for it."""
        target, username = login.cluster, login.username
        lifetime = timedelta(hours=self._services.settings.TOKEN_HOURS)
        credential = Credential(
            id=new_id(),
            username=username,
            cluster=target.name,
            kind=target.login,
            expires_at=now() + lifetime,
        )
        await CREDENTIAL_KINDS[target.login](self._services).make(login, credential)
        self._request.state.username = username
        token = Token(
            username,
            target.name,
            credential.id,
            login.half,
            int(credential.expires_at.timestamp()),
            credential.worker or "",
        )
        await run_in_threadpool(self._services.credentials.add, credential)
        log_event(log, "login", user=username, cluster=target.name, credential=token.credential)
        return {
            "token": self._services.encryptor.issue_token(token),
            "username": username,
            "cluster": target.name,
            "expires_at": _iso(token),
        }

    async def log_out(self) -> dict[str, Any]:
        """Refuse the token from now on, then take its key off the cluster."""
        token = await login_of(self._request, self._services)
        credential = await run_in_threadpool(self._services.credentials.get, token.credential)
        await run_in_threadpool(self._services.credentials.revoke, token.credential)
        await self._tell_logged_out(token.credential)
        answer: dict[str, Any] = {"username": token.username, "cluster": token.cluster}
        try:
            if credential is None:
                raise KeyRefused("the key was already gone")
            await CREDENTIAL_KINDS[credential.kind](self._services).take_back(token, credential)
        except ResopError as fault:
            reason = f"{fault.message}; it ends by itself at {_iso(token)}"
            return {**answer, "key_removed": False, "reason": reason}
        return {**answer, "key_removed": True}

    async def _tell_logged_out(self, credential: str) -> None:
        self._services.logins.on_logout(credential)
        try:
            await self._services.redis.publish(LOGGED_OUT, credential)
        except (redis.RedisError, OSError):
            # The other API processes have lost Redis too, and so ask the record each time.
            log.warning("nobody was told of a logout: Redis is away")

    def _cluster(self, name: str | None) -> Cluster:
        try:
            return self._services.settings.cluster(name)
        except UnknownAction as fault:
            raise InvalidOptions([{"field": "cluster", "message": fault.message}]) from None

    def _client_address(self) -> str:
        return self._request.client.host if self._request.client else "local"


def _iso(token: Token) -> str:
    return token.expires_at.isoformat().replace("+00:00", "Z")
