"""FastAPI dependencies of the routes: the services, the request's context and its caller."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.http.request_context import Caller, RequestContext, context_of
from api.state.services import Services, services_of
from resop.errors import NotLoggedIn, SessionExpired, TokenRefused
from resop.security.tokens import Token


async def _services(request: Request) -> Services:
    # async, since FastAPI would run a plain function in a thread, at each request.
    return services_of(request)


ServicesDep = Annotated[Services, Depends(_services)]

_bearer = HTTPBearer(auto_error=False, description="The token from POST /auth/opn/login.")
_BearerDep = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def logged_in(request: Request, services: ServicesDep, bearer: _BearerDep) -> Token:
    """Return the caller's token. Raises what `check_token` raises."""
    text = bearer.credentials if bearer else None
    return await check_token(services, context_of(request.scope), text)


CurrentToken = Annotated[Token, Depends(logged_in)]


async def _caller(request: Request, token: CurrentToken) -> Caller:
    return Caller(token, context_of(request.scope))


CurrentCaller = Annotated[Caller, Depends(_caller)]


async def token_of(services: Services, context: RequestContext, request: Request) -> Token:
    """Return the caller's token in a route that does not always need one."""
    return await check_token(services, context, await bearer_of(request))


async def bearer_of(request: Request) -> str | None:
    """Return the token that a request carries, whatever it is; None if it carries none."""
    bearer = await _bearer(request)
    return bearer.credentials if bearer else None


async def check_token(services: Services, context: RequestContext, text: str | None) -> Token:
    """Decrypt a token and check that its login is still valid.

    Raises NotLoggedIn without a token, TokenRefused if the token has expired or was ended, and
    SessionExpired if the worker that held its session is gone.
    """
    if text is None:
        raise NotLoggedIn
    token = services.access.encryptor.read_token(text)
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
    return token.expires > time.time() and await services.access.logins.is_valid(token)
