"""The session of a browser: a cookie that holds the token, and CSRF tokens for the forms.

Only the pages read the cookie; the rest of the API ignores it. Before the login it holds a random
text. In both cases a form carries a digest of it, which no other site can compute.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from urllib.parse import quote

from fastapi import Request, Response

from api.auth.dependencies import check_token
from api.http.request_context import Caller, context_of
from api.http.root_path import root_path_of
from api.state.services import services_of
from resop.clock import unix_time
from resop.errors import CsrfFailed

CSRF_FIELD = ":guard"
"""The form field with the CSRF token."""
SESSION_COOKIE = "resop"
LOGIN = "/auth/opn/login/submit"
INDEX = "/pages/"
# A path of this site, however a browser treats slashes, backslashes and control characters.
_LOCAL_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")


def cookie_of(request: Request) -> str:
    """Return the browser's cookie; empty if it has none.

    The cookies of other services are not parsed: unquoting one of 64 KiB would take seconds.
    """
    wanted = _cookie_name(request, SESSION_COOKIE)
    pairs = "; ".join(request.headers.getlist("cookie")).split(";")
    found = (pair.strip().partition("=") for pair in pairs)
    return next((value for name, _, value in found if name == wanted), "")


async def caller_of(request: Request) -> Caller:
    """Return who is logged in in this browser. Raises NotLoggedIn or TokenRefused."""
    context = context_of(request.scope)
    token = await check_token(services_of(request), context, cookie_of(request) or None)
    return Caller(token, context)


def csrf_token(cookie: str) -> str:
    """Return the CSRF token for the forms of the browser that holds `cookie`."""
    return hmac.digest(cookie.encode(), b"resop form", hashlib.sha256).hex()


def check_csrf_token(request: Request, token: str) -> None:
    """Raise CsrfFailed unless this browser received the form from this service."""
    cookie = cookie_of(request)
    if not cookie or not hmac.compare_digest(csrf_token(cookie).encode(), token.encode()):
        raise CsrfFailed


def new_cookie() -> str:
    """Return a random cookie for a browser that is not logged in."""
    return secrets.token_urlsafe(32)


def set_session_cookie(
    request: Request, response: Response, cookie: str, expires: int | None = None
) -> None:
    """Set the browser's cookie until a Unix time in seconds, or until the browser is closed."""
    response.set_cookie(
        _cookie_name(request, SESSION_COOKIE),
        cookie,
        max_age=None if expires is None else max(0, expires - int(unix_time())),
        path=_cookie_path(request),
        secure=_is_secure(request),
        httponly=True,
        samesite="lax",  # so that a link to a task in an e-mail opens it
    )


def login_address(next_path: str) -> str:
    """Return the address of the login page that continues at `next_path`."""
    return f"{LOGIN}?next={quote(next_path, safe='')}"


def next_url(request: Request) -> str:
    """Return where to go after a login: always a page of this site, whatever the link says."""
    root_path = root_path_of(request.scope)
    next_path = request.query_params.get("next", "")
    if root_path and next_path.startswith(root_path + "/"):  # from another site
        next_path = next_path.removeprefix(root_path)
    return next_path if _LOCAL_PATH.fullmatch(next_path) else INDEX


def _is_secure(request: Request) -> bool:
    # Here a proxy that TRUSTED_PROXIES does not name is believed as well: who lies about the
    # scheme only keeps the own browser from returning the cookie.
    forwarded = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return "https" in (request.url.scheme, forwarded)


def _cookie_name(request: Request, name: str) -> str:
    """Return the name of a cookie; that of a service below a root path is its own."""
    # A browser accepts the prefix only from the host itself and over HTTPS (RFC 6265bis).
    prefix = "__Host-" if _is_secure(request) else ""
    return prefix + name + root_path_of(request.scope).replace("/", ".")


def _cookie_path(request: Request) -> str:
    # __Host- demands the path /, and what it protects against matters more than a path, which
    # keeps the pages of other services on this host from nothing.
    return "/" if _is_secure(request) else root_path_of(request.scope) or "/"


def private_cookie(request: Request, name: str) -> str:
    """Return a further cookie that this service has set in the browser; empty without one."""
    return request.cookies.get(_cookie_name(request, name), "")


def set_private_cookie(
    request: Request, response: Response, name: str, content: str, seconds: int
) -> None:
    """Set such a cookie for a time, or delete it with 0 seconds."""
    response.set_cookie(
        _cookie_name(request, name),
        content,
        max_age=seconds,
        path=_cookie_path(request),
        secure=_is_secure(request),
        httponly=True,
        samesite="lax",  # so that it comes with the way back from another site
    )
