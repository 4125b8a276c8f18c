"""Log in with the site's OpenID Connect issuer: authorization code flow with PKCE.

Sources: OpenID Connect Core 1.0, 3.1; RFC 7636 (PKCE, S256); RFC 9207 (`iss` in the answer). What
this service must remember of a login that is under way is in an encrypted cookie of the browser
that began it, so no other browser can end it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import secrets
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from api.auth.login import ApiLoginGateway
from api.http.errors import status_of
from api.http.request_context import RequestContext, context_of
from api.pages.browser_session import (
    next_url,
    private_cookie,
    set_private_cookie,
    set_session_cookie,
)
from api.state import openid_http
from api.state.services import Services, services_of
from resop.clock import unix_time
from resop.config.openid import words
from resop.errors import (
    ClusterError,
    LoginRefused,
    NotLoggedIn,
    RecordsUnavailable,
    ResopError,
    TokenRefused,
)
from resop.security.tokens import Token
from resop.storage.models import RequestOutcome

log = logging.getLogger(__name__)

UNDERWAY_SECONDS = 600
"""How long a person may take at the issuer."""
COOKIE = "resop-openid"
_CONTEXT = "openid login"
"""The purpose that the cookie is encrypted for."""


def offers_openid(services: Services) -> bool:
    """Return True if a login in the browser with the issuer is set up."""
    settings = services.settings
    return bool(
        settings.OIDC_ISSUER and settings.OIDC_REDIRECT_URI and settings.certificate_cluster()
    )


async def begin(request: Request) -> Response:
    """Send the browser to the issuer."""
    services = services_of(request)
    if context_of(request.scope).is_head:
        return Response()
    _require(services)
    settings = services.settings
    underway = {
        "state": secrets.token_urlsafe(32),
        "nonce": secrets.token_urlsafe(32),
        "verifier": secrets.token_urlsafe(64),
        "next": next_url(request),
        "until": unix_time() + UNDERWAY_SECONDS,
    }
    asked = {
        "response_type": "code",
        "client_id": settings.OIDC_AUDIENCE or "",
        "redirect_uri": settings.OIDC_REDIRECT_URI or "",
        "scope": settings.OIDC_SCOPE,
        "state": underway["state"],
        "nonce": underway["nonce"],
        "code_challenge": _challenge(str(underway["verifier"])),
        "code_challenge_method": "S256",
    }
    if classes := words(settings.OIDC_ACR):
        asked["acr_values"] = " ".join(classes)
    endpoint = (await services.access.openid.metadata()).authorization_endpoint
    if not endpoint:
        raise ClusterError("the issuer has no address for logins in a browser")
    separator = "&" if "?" in endpoint else "?"
    response = RedirectResponse(f"{endpoint}{separator}{urlencode(asked)}", 303)
    encrypted = services.access.encryptor.encrypt(underway, _CONTEXT)
    content = base64.urlsafe_b64encode(encrypted).decode()
    set_private_cookie(request, response, COOKIE, content, UNDERWAY_SECONDS)
    return response


async def finish(request: Request) -> Response:
    """Log in with the code that the issuer has sent the browser back with; audit it as a login."""
    services, context = services_of(request), context_of(request.scope)
    if context.is_head:  # from programs that look at links before a person follows them
        return Response()
    context.action = "auth:login_token"
    underway = _underway(services, request)
    try:
        response = await _finish(request, services, underway)
    except ResopError as fault:
        context.refused(type(fault).__name__)
        await _audit(services, context, RequestOutcome.REFUSED, status_of(type(fault)))
        raise
    await _audit(services, context, RequestOutcome.DONE, response.status_code)
    return response


async def _audit(
    services: Services, context: RequestContext, outcome: RequestOutcome, status: int
) -> None:
    """Write the entry of a login that came with a GET, which other entries do not."""
    entry = context.audit_entry(outcome, status)
    context.nothing_done()
    try:
        await run_in_threadpool(services.storage.audit_log.add, entry)
    except RecordsUnavailable:
        log.error("not in the audit log, the database is unavailable: %s", entry)


async def _finish(request: Request, services: Services, underway: dict[str, Any]) -> Response:
    context, query = context_of(request.scope), request.query_params
    if query.get("iss", services.settings.OIDC_ISSUER) != services.settings.OIDC_ISSUER:
        raise LoginRefused("another issuer has answered: begin again")
    if "code" not in query:
        raise LoginRefused("the issuer did not log you in: begin again")
    id_token = await _id_token(services, query["code"], underway["verifier"])
    cluster = services.settings.certificate_cluster()
    assert cluster is not None
    context.login_attempted("", cluster.name)
    verified = await services.access.openid.verify(id_token, nonce=underway["nonce"])
    gateway = ApiLoginGateway(services, context, _nobody, None)
    output = await gateway.log_in_verified(verified, cluster)
    response = RedirectResponse(underway["next"], 303)
    token = services.access.encryptor.read_token(output["token"])
    set_session_cookie(request, response, output["token"], token.expires)
    set_private_cookie(request, response, COOKIE, "", 0)
    return response


async def _id_token(services: Services, code: str, verifier: str) -> str:
    """Exchange the code for an ID token. Raises LoginRefused or ClusterError."""
    settings = services.settings
    client = settings.OIDC_AUDIENCE or ""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": settings.OIDC_REDIRECT_URI or "",
        "code_verifier": verifier,
    }
    login = None
    if settings.OIDC_CLIENT_SECRET is not None:
        login = client, settings.OIDC_CLIENT_SECRET.get_secret_value()
    else:
        form["client_id"] = client
    endpoint = (await services.access.openid.metadata()).token_endpoint
    try:
        answer = json.loads(await openid_http.fetch(endpoint, form, login))
    except TimeoutError:
        raise ClusterError("the issuer does not answer: try again later") from None
    except (OSError, ValueError, RecursionError) as fault:
        raise LoginRefused(f"the issuer did not accept its own code: {fault}") from None
    if not isinstance(answer, dict) or not isinstance(answer.get("id_token"), str):
        raise LoginRefused("the issuer answered without an ID token: OIDC_SCOPE needs 'openid'")
    return str(answer["id_token"])


def _underway(services: Services, request: Request) -> dict[str, Any]:
    """Return what is remembered of this browser's login. Raises LoginRefused if there is none."""
    _require(services)
    cookie = private_cookie(request, COOKIE)
    try:
        encrypted = base64.urlsafe_b64decode(cookie.encode("ascii"))
        underway = services.access.encryptor.decrypt(encrypted, _CONTEXT)
    except (ValueError, TokenRefused):
        raise LoginRefused("this login was not begun in this browser: begin again") from None
    state = request.query_params.get("state", "")
    if not hmac.compare_digest(state.encode(), underway["state"].encode()):
        raise LoginRefused("this login was not begun in this browser: begin again")
    if underway["until"] < unix_time():
        raise LoginRefused("the login took too long: begin again")
    return underway


def _require(services: Services) -> None:
    if not offers_openid(services):
        raise LoginRefused("this site does not support logins with an issuer in the browser")


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


async def _nobody() -> Token:
    raise NotLoggedIn
