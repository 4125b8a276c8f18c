"""FastAPI dependencies of the routes: the services, the request's context and its caller."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from api.auth.access_tokens import access_token_login, is_jws
from api.http.request_context import Caller, RequestContext, context_of
from api.state.services import Services, services_of
from resop.clock import unix_time
from resop.errors import Forbidden, NotLoggedIn, NotPermitted, SessionExpired, TokenRefused
from resop.security.api_keys import PREFIX
from resop.security.tokens import Token


async def _services(request: Request) -> Services:
    # async, since FastAPI would run a plain function in a thread, at each request.
    return services_of(request)


ServicesDep = Annotated[Services, Depends(_services)]

_bearer = HTTPBearer(
    auto_error=False, description="The token from POST /auth/opn/login, or an API key."
)
_BearerDep = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
_api_key = APIKeyHeader(
    name="X-API-Key", auto_error=False, description="An API key from POST /api-keys."
)
_ApiKeyDep = Annotated[str | None, Depends(_api_key)]


async def logged_in(
    request: Request, services: ServicesDep, bearer: _BearerDep, api_key: _ApiKeyDep
) -> Token:
    """Return the caller's token. Raises what `check_token` raises."""
    return await _check_headers(services, context_of(request.scope), bearer, api_key)


CurrentToken = Annotated[Token, Depends(logged_in)]


async def _caller(request: Request, token: CurrentToken) -> Caller:
    return Caller(token, context_of(request.scope))


CurrentCaller = Annotated[Caller, Depends(_caller)]


def check_may_write(token: Token) -> None:
    """Raise Forbidden for a token that may change nothing: that of a read-only API key."""
    if token.scope is not None and token.scope.read_only:
        raise Forbidden("scope: this API key is read-only", rule="scope")


async def _writing(token: CurrentToken) -> Token:
    check_may_write(token)
    return token


WritingToken = Annotated[Token, Depends(_writing)]
"""The token of a caller who changes something that is no action, such as the tags of a task."""


async def _person(caller: CurrentCaller) -> Caller:
    refuse_api_key(caller.token, "do this")
    return caller


CurrentPerson = Annotated[Caller, Depends(_person)]
"""A caller who has logged in: for what a program with an API key may not do."""


async def _token_of_person(caller: CurrentPerson) -> Token:
    return caller.token


PersonToken = Annotated[Token, Depends(_token_of_person)]


def refuse_api_key(token: Token, what: str) -> None:
    """Raise NotPermitted if the caller has shown an API key."""
    if token.api_key:
        raise NotPermitted(f"an API key cannot {what}: log in")


async def token_of(services: Services, context: RequestContext, request: Request) -> Token:
    """Return the caller's token in a route that does not always need one."""
    bearer, api_key = await _bearer(request), await _api_key(request)
    return await _check_headers(services, context, bearer, api_key)


async def bearer_of(request: Request) -> str | None:
    """Return the token that a request carries, whatever it is; None if it carries none."""
    bearer = await _bearer(request)
    return bearer.credentials if bearer else None


async def _check_headers(
    services: Services,
    context: RequestContext,
    bearer: HTTPAuthorizationCredentials | None,
    api_key: str | None,
) -> Token:
    """Return the token of the one header that names the caller."""
    if bearer is not None and api_key is not None:
        raise TokenRefused("send either Authorization or X-API-Key, not both")
    text = bearer.credentials if bearer else api_key
    if text is not None and (api_key is not None or text.startswith(PREFIX)):
        return await _check_api_key(services, context, text)
    if text is not None and services.settings.OIDC_ACCESS_TOKENS and is_jws(text):
        return await _check_login(services, context, await access_token_login(services, text))
    return await check_token(services, context, text)


async def _check_api_key(services: Services, context: RequestContext, text: str) -> Token:
    """Find an API key, and check that it is still valid and may be used from this address."""
    token = await services.access.api_keys.token_of(text)
    services.access.requests.end_with(token.credential)  # before it is found valid
    if not await services.access.logins.is_valid(token):
        raise TokenRefused("there is no such API key; it may have been deleted or have expired")
    services.access.use.note(token.credential)
    context.username, context.cluster = token.username, token.cluster
    if token.scope is not None and not token.scope.allows_address(context.address):
        raise Forbidden(f"scope: this API key may not be used from {context.address}", rule="scope")
    return token


async def check_token(services: Services, context: RequestContext, text: str | None) -> Token:
    """Decrypt the token of a login and check that the login is still valid.

    Raises NotLoggedIn without a token, TokenRefused if the token has expired or was ended, and
    SessionExpired if the worker that held its session is gone.
    """
    if text is None:
        raise NotLoggedIn
    if text.startswith("{"):
        raise TokenRefused("this is the whole output of the login: send only its 'token'")
    return await _check_login(services, context, services.access.encryptor.read_token(text))


async def _check_login(services: Services, context: RequestContext, token: Token) -> Token:
    services.access.requests.end_with(token.credential)  # before it is found valid
    if not await services.access.logins.is_valid(token):
        raise SessionExpired if token.worker else TokenRefused("the token was ended: log in again")
    if token.worker:
        await services.access.worker_logins.check(token)
    services.access.use.note(token.credential)
    context.username, context.cluster = token.username, token.cluster
    return token


async def still_logged_in(services: Services, token: Token) -> bool:
    """Return True if an accepted token is still valid: for responses that take long."""
    return token.expires > unix_time() and await services.access.logins.is_valid(token)
