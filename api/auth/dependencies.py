"""What routes depend on: the services, and who is logged in."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.state.services import Services, services_of
from resop.errors import NotLoggedIn, SessionExpired, TokenRefused
from resop.security.tokens import Token


async def _services(request: Request) -> Services:
    # async, since FastAPI would run a plain function in a thread, at each request.
    return services_of(request)


ServicesDep = Annotated[Services, Depends(_services)]

_bearer = HTTPBearer(auto_error=False, description="the token of POST /auth/opn/login")


async def logged_in(
    request: Request,
    services: ServicesDep,
    shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Token:
    """The caller's token; NotLoggedIn without one, TokenRefused when it is over or revoked.

    SessionExpired where it stands for a kept session that is gone.
    """
    if shown is None:
        raise NotLoggedIn
    token = services.encryptor.read_token(shown.credentials)
    if not await services.logins.live(token, trusted=services.subscriber.connected):
        raise SessionExpired if token.worker else TokenRefused("the token was ended: log in again")
    if token.worker:
        await services.worker_logins.check(token)
    request.state.username, request.state.cluster = token.username, token.cluster
    return token


async def still_logged_in(services: Services, token: Token) -> bool:
    """Whether a token that was good before still is: for answers that take their time."""
    trusted = services.subscriber.connected
    return token.expires > time.time() and await services.logins.live(token, trusted=trusted)


async def login_of(request: Request, services: Services) -> Token:
    """The same for a route that learns only on the way whether it needs a token."""
    return await logged_in(request, services, await _bearer(request))


CurrentToken = Annotated[Token, Depends(logged_in)]
