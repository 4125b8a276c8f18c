"""Who a browser belongs to: a cookie that holds the token, and forms that only our pages can send.

The cookie counts on the pages alone; the rest of the API never looks at it. Before the login it
holds a random text. Either way a form carries a digest of it, which no other site can make.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.security import HTTPAuthorizationCredentials

from api.auth.dependencies import logged_in
from api.state.services import services_of
from resop.errors import CsrfFailed, NotLoggedIn
from resop.security.tokens import Token

CSRF_FIELD = ":guard"
"""The form field that shows where a form came from."""
LOGIN = "/auth/opn/login/submit"
INDEX = "/pages/"
# Of this site, whatever a browser makes of slashes, backslashes and control characters.
_OURS = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")


def cookie_of(request: Request) -> str:
    """What the browser shows; empty when nothing."""
    return request.cookies.get(_name(request), "")


async def user_of(request: Request) -> Token:
    """Who is logged in in this browser; NotLoggedIn or TokenRefused when nobody is."""
    if not (cookie := cookie_of(request)):
        raise NotLoggedIn("log in first")
    shown = HTTPAuthorizationCredentials(scheme="Bearer", credentials=cookie)
    return await logged_in(request, services_of(request), shown)


def csrf_token(cookie: str) -> str:
    """The digest that a form carries for the browser that holds `cookie`."""
    return hmac.digest(cookie.encode(), b"resop form", hashlib.sha256).hex()


def check_csrf_token(request: Request, shown: str) -> None:
    """CsrfFailed for a form that this browser did not get from us."""
    cookie = cookie_of(request)
    if not cookie or not hmac.compare_digest(csrf_token(cookie).encode(), shown.encode()):
        raise CsrfFailed


def new_cookie() -> str:
    """For a browser that is not logged in."""
    return secrets.token_urlsafe(32)


def set_session_cookie(
    request: Request, response: Response, cookie: str, expires: int | None = None
) -> None:
    """Hand the browser its cookie, until a Unix time in seconds or until it is closed."""
    response.set_cookie(
        _name(request),
        cookie,
        max_age=None if expires is None else max(0, expires - int(time.time())),
        secure=_is_secure(request),
        httponly=True,
        samesite="lax",  # a link from a mail to a task opens it
    )


def login_address(onward: str) -> str:
    """The login page, which goes on to `onward`."""
    return f"{LOGIN}?next={quote(onward, safe='')}"


def next_url(request: Request) -> str:
    """Where to go after a login: a page of ours, whatever the link says."""
    onward = request.query_params.get("next", "")
    return onward if _OURS.fullmatch(onward) else INDEX


def _is_secure(request: Request) -> bool:
    return request.url.scheme == "https"


def _name(request: Request) -> str:
    # With this prefix a browser takes it from this very host and over HTTPS only (RFC 6265bis).
    return "__Host-resop" if _is_secure(request) else "resop"
