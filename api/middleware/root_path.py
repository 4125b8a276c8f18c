"""Serve below a path that a proxy keeps in front of each request's path, or removes.

The setting ROOT_PATH names it; else the server that runs the application (ASGI's `root_path`), or
`X-Forwarded-Prefix` of a trusted proxy. The rest of the service sees paths without it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.root_path import set_root_path
from api.middleware.proxy_headers import came_through_trusted_proxy
from resop.config.settings import ROOT_PATH_PATTERN

HEADER = "X-Forwarded-Prefix"
MAX_PREFIX_CHARACTERS = 256
_VALID = re.compile(ROOT_PATH_PATTERN)


class RootPath:
    """ASGI middleware, inside of the one that recognises trusted proxies."""

    def __init__(self, app: ASGIApp, root_path: str, first_names: Collection[str]) -> None:
        """`first_names` are what the service's own paths begin with, which stays."""
        self._app = app
        self._root_path = root_path
        self._first_names = first_names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        root_path = self._root_path or scope.get("root_path", "") or _forwarded(scope)
        scope["root_path"] = ""
        set_root_path(scope, root_path)
        if root_path:
            if root_path.split("/")[1] not in self._first_names:
                _remove(scope, root_path)
            send = _with_root_path(send, root_path)
        await self._app(scope, receive, send)


def _forwarded(scope: Scope) -> str:
    """Return the path that trusted proxies say they removed; each proxy adds its own at the end."""
    if not came_through_trusted_proxy(scope):
        return ""
    parts = ",".join(Headers(scope=scope).getlist(HEADER)).split(",")
    found = "".join(part.strip().rstrip("/") for part in parts)
    return found if len(found) <= MAX_PREFIX_CHARACTERS and _VALID.fullmatch(found) else ""


def _remove(scope: Scope, root_path: str) -> None:
    """Remove the root path from the request's path, if a proxy kept it there."""
    names = root_path.split("/")
    kept = scope["raw_path"].split(b"/", len(names))
    if [unquote(name.decode("ascii")) for name in kept[: len(names)]] == names:
        scope["raw_path"] = b"/" + b"".join(kept[len(names) :])
        scope["path"] = unquote(scope["raw_path"].decode("ascii"))


def _with_root_path(send: Send, root_path: str) -> Send:
    """Put the root path in front of a `Location` on this service."""

    async def send_moved(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            location = headers.get("location", "")
            if location.startswith("/") and not location.startswith("//"):
                headers["location"] = root_path + location
        await send(message)

    return send_moved
