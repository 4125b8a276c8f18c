"""Limit the requests that one client address has open through trusted proxies.

A client that connects directly is limited by its connections
(api/http/connection_register.py), each of which serves one request at a time.
"""

from __future__ import annotations

from collections import Counter

from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.client_address import TrustedProxies
from api.http.errors import error_response
from resop.errors import LimitReached
from resop.security.client_group import client_group


class AddressLimit:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, limit: int, trusted_proxies: str) -> None:
        self._app = app
        self._limit = limit
        self._proxies = TrustedProxies(trusted_proxies)
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        client = scope.get("client")
        # A proxy that does not say for whom it asks stands for all its clients.
        if scope["type"] != "http" or client is None or client[0] in self._proxies:
            await self._app(scope, receive, send)
            return
        group = client_group(client[0])
        if self._open[group] >= self._limit:
            fault = LimitReached(
                f"{self._limit} requests from your address are open: try again later"
            )
            await error_response(fault)(scope, receive, send)
            return
        self._open[group] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open[group] -= 1
            if not self._open[group]:
                del self._open[group]
