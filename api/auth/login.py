"""Log users in and out, in the API process: a password is never queued, stored or logged."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from starlette.concurrency import run_in_threadpool

from api.auth.credentials import CREDENTIAL_KINDS, LoginData
from api.auth.dependencies import refuse_api_key
from api.auth.login_ending import end_logins, remove_key, tasks_continue
from api.auth.surplus_logins import end_surplus_logins
from api.http.request_context import RequestContext
from api.state.login_counters import KNOWN_SECONDS
from api.state.openid import VerifiedToken
from api.state.services import Services
from resop.access.login_administration import LoginAdministration
from resop.actions.call import ActionCall
from resop.actions.login_gateway import LoginAnswer, LogoutAnswer
from resop.actions.operation import Operation
from resop.clock import unix_time
from resop.config.clusters import Cluster
from resop.config.logging import log_event
from resop.errors import (
    InvalidOptions,
    LimitReached,
    LoginRefused,
    ResopError,
    TokenRefused,
    UnknownAction,
)
from resop.security.login_name import check_login_name
from resop.security.tokens import Token, new_key_share
from resop.storage.credentials import LOGGED_OUT
from resop.storage.ids import new_id
from resop.storage.login_ends import EndedLogin
from resop.storage.models import Credential, now
from resop.storage.serializers import iso_time
from resop.types import Secret

log = logging.getLogger(__name__)

Authenticate = Callable[[], Awaitable[Token]]
"""Returns the caller's token. Raises NotLoggedIn, TokenRefused or SessionExpired."""


async def run_login_operation(
    services: Services,
    context: RequestContext,
    call: ActionCall,
    authenticate: Authenticate,
    bearer: str | None,
) -> Any:
    """Run an operation of `auth` here, in the API process, and return its output.

    `bearer` is the token that the request carries; it need not be valid any more. Raises what the
    methods of `ApiLoginGateway` raise.
    """
    operation = call.action
    assert isinstance(operation, Operation)
    context.options = call.masked
    gateway = ApiLoginGateway(services, context, authenticate, bearer)
    return await operation(gateway, **operation.arguments(call.options))


class ApiLoginGateway:
    """The login gateway of one request."""

    def __init__(
        self,
        services: Services,
        context: RequestContext,
        authenticate: Authenticate,
        bearer: str | None,
    ) -> None:
        """`authenticate` is called for a logout only.

        For a login, the token `bearer` only shows that this client has logged in before.
        """
        self._services = services
        self._context = context
        self._authenticate = authenticate
        self._bearer = bearer

    async def log_in(
        self, username: str, password: Secret, otp: Secret | None, cluster: str | None
    ) -> LoginAnswer:
        """Log in over SSH, store a credential, and return a token."""
        target = self._cluster(cluster)
        self._context.login_attempted(username, target.name)
        check_login_name(username)
        code = otp.get_secret_value() if otp else None
        login = LoginData(target, username, password.get_secret_value(), code, new_key_share())
        attempt = self._services.access.throttle.attempt(
            username, target.name, self._context.address, self._earlier_login(username, target)
        )
        async with attempt as turn:
            return await self._finish(replace(login, turn=turn))

    async def log_in_by_token(self, id_token: Secret, cluster: str | None) -> LoginAnswer:
        """Log in the user named by a trusted issuer's token; the cluster must take certificates."""
        by_default = self._services.settings.certificate_cluster() if cluster is None else None
        target = by_default or self._cluster(cluster)
        if target.login != "certificate":
            raise LoginRefused(
                f"{target.name} does not accept logins by token: log in with a password"
            )
        self._context.login_attempted("", target.name)
        verified = await self._verify(id_token.get_secret_value(), target)
        return await self.log_in_verified(verified, target)

    async def _verify(self, id_token: str, target: Cluster) -> VerifiedToken:
        """Verify an ID token; a wrong one counts as a failed login from its address.

        Nobody else waits while the issuer is asked: only the failure is counted afterwards.
        """
        fault: LoginRefused | None = None
        try:
            return await self._services.access.openid.verify(id_token)
        except LoginRefused as refused:
            fault = refused
        throttle = self._services.access.throttle
        async with throttle.attempt(None, target.name, self._context.address):
            raise fault

    async def log_in_verified(self, verified: VerifiedToken, target: Cluster) -> LoginAnswer:
        """Log in the user named by an ID token, which must not have been used before."""
        username, minimum_uid = verified.user
        self._context.login_attempted(username, target.name)
        share = new_key_share()
        login = LoginData(target, username, None, None, share, minimum_uid=minimum_uid)
        async with self._services.access.used_tokens.use(verified):
            return await self._finish(login)

    async def _finish(self, login: LoginData) -> LoginAnswer:
        """Create the credential and issue the token that unlocks it."""
        target, username = login.cluster, login.username
        begin, settings = now(), self._services.settings
        credential = Credential(
            id=new_id(),
            username=username,
            cluster=target.name,
            kind=target.login,
            created_at=begin,
            expires_at=begin + settings.login_lifetime,
            address=self._context.address,
            user_agent=self._context.user_agent,
        )
        await CREDENTIAL_KINDS[target.login](self._services).create(login, credential)
        # From here on the user is who the cluster says, not who the request says.
        username = self._context.username = credential.username
        token = Token(
            username,
            target.name,
            credential.id,
            login.key_share,
            int((begin + settings.token_lifetime).timestamp()),
            credential.worker or "",
        )
        await self._add(token, credential)
        log_event(log, "login", user=username, cluster=target.name, credential=token.credential)
        return self._answer(token, credential)

    async def renew(self) -> LoginAnswer:
        """Issue a new token for the caller's login; the present one is valid until its own end."""
        token = await self._authenticate()
        refuse_api_key(token, "be renewed")
        credential = await run_in_threadpool(
            self._services.storage.credentials.get, token.credential
        )
        if credential is None:
            raise TokenRefused("the login has ended: log in again")
        expires = min(now() + self._services.settings.token_lifetime, credential.expires_at)
        return self._answer(replace(token, expires=int(expires.timestamp())), credential)

    def _answer(self, token: Token, credential: Credential) -> LoginAnswer:
        """Return the token with its end, and the end of the login if that is later."""
        answer: LoginAnswer = {
            "token": self._services.access.encryptor.issue_token(token),
            "username": token.username,
            "cluster": token.cluster,
            "expires_at": iso_time(token.expires_at),
        }
        if self._services.settings.LOGIN_HOURS is not None:
            answer["login_expires_at"] = iso_time(credential.expires_at)
        return answer

    async def _add(self, token: Token, credential: Credential) -> None:
        """Store a credential; if that fails, remove its key from the cluster again.

        Raises UserBlocked and RecordsUnavailable.
        """
        services = self._services
        try:
            await run_in_threadpool(services.storage.credentials.add, credential)
            with contextlib.suppress(LimitReached):  # of logins at the same moment, each made room
                most = services.settings.LOGINS_PER_USER
                await end_surplus_logins(services, token.username, token.cluster, most)
        except BaseException:
            with contextlib.suppress(ResopError):  # then its line expires by itself
                await CREDENTIAL_KINDS[credential.kind](services).revoke(
                    token, credential, credential.id
                )
            raise

    async def log_out(self, keep_running: bool) -> LogoutAnswer:
        """Refuse the token from now on, then remove its key from the cluster.

        Its tasks continue with `keep_running`, and so does the key until they have ended.
        """
        token = await self._authenticate()
        refuse_api_key(token, "log out")
        credential = await run_in_threadpool(
            self._services.storage.credentials.get, token.credential
        )

        def end(administration: LoginAdministration) -> list[EndedLogin]:
            return administration.end([token.credential], LOGGED_OUT, keep_running=keep_running)

        ended = await end_logins(self._services, end)
        reason = await remove_key(self._services, token, credential, ended)
        answer: LogoutAnswer = {
            "username": token.username,
            "cluster": token.cluster,
            "key_removed": reason is None,
        }
        if tasks_continue(token, ended):
            answer["tasks_continue"] = True
        if reason is not None:
            answer["reason"] = reason
        return answer

    def _earlier_login(self, username: str, target: Cluster) -> str:
        """Return the credential of the caller's token if it is one of this user, or was."""
        text = self._bearer or ""
        token = self._services.access.encryptor.read_ended_token(text) if text else None
        if token is None or (token.username, token.cluster) != (username, target.name):
            return ""
        recent = token.expires > unix_time() - KNOWN_SECONDS
        return token.credential if recent else ""

    def _cluster(self, name: str | None) -> Cluster:
        try:
            return self._services.settings.cluster(name)
        except UnknownAction as fault:
            raise InvalidOptions.of("cluster", fault.message) from None
