"""Choose the service and the login: given, of the environment, or stored by an earlier login."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from resop_client.errors import NotLoggedIn, RequestError
from resop_client.login_store import DEFAULT_PROFILE, Login, LoginStore


def choose_profile(
    profile: str | None,
    environ: Mapping[str, str] | None = None,
    store: LoginStore | None = None,
) -> str:
    """Return the name of the profile: the given one, RESOP_PROFILE, the chosen one, `default`."""
    environ = os.environ if environ is None else environ
    chosen = store.chosen() if store else None
    return profile or environ.get("RESOP_PROFILE") or chosen or DEFAULT_PROFILE


def choose_login(
    url: str | None,
    token: str | None,
    profile: str,
    store: LoginStore,
    environ: Mapping[str, str] | None = None,
) -> Login:
    """Return the login to begin with; its token is empty if there is none for this service.

    A given value counts before RESOP_URL and RESOP_TOKEN, and those before the stored login. Raises
    NotLoggedIn if no service is named anywhere.
    """
    environ = os.environ if environ is None else environ
    url = url or environ.get("RESOP_URL")
    token = token or environ.get("RESOP_TOKEN")
    kept = store.load(profile)
    if url is None and kept is None:
        raise NotLoggedIn(
            'no service is known: give url="https://…", set RESOP_URL, or log in once'
        )
    if url is not None:
        url = service_url(url)
        if token is None and kept is not None and kept.url == url:
            return kept
        return Login(url, token or "")
    assert kept is not None
    return Login(kept.url, token) if token else kept


def service_url(url: str) -> str:
    """Return the address of a service without a slash at its end. Raises RequestError."""
    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise RequestError(f"{url!r} is not the address of a service, such as https://hpc.example")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
