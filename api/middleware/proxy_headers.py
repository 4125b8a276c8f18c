"""Believe only the proxies in TRUSTED_PROXIES about the client and the id of a request."""

from __future__ import annotations

from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from api.http.client_address import TrustedProxies

_STATE_KEY = "through_trusted_proxy"


class ProxyHeaders:
    """ASGI middleware: believe the address and the scheme that a trusted proxy reports.

    The outermost one: the others see the client's address, not the proxy's.
    """

    def __init__(self, app: ASGIApp, trusted_proxies: str) -> None:
        """`trusted_proxies` are addresses and networks, separated by commas."""
        self._trusted = TrustedProxies(trusted_proxies)
        # uvicorn has types of its own for the same protocol.
        self._proxied: Any = ProxyHeadersMiddleware(cast(Any, app), trusted_hosts=trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        client = scope.get("client")
        trusted = client is not None and client[0] in self._trusted
        scope.setdefault("state", {})[_STATE_KEY] = trusted
        await self._proxied(scope, receive, send)


def came_through_trusted_proxy(scope: Scope) -> bool:
    """Return True if a trusted proxy sent this request."""
    return bool(scope.get("state", {}).get(_STATE_KEY))
