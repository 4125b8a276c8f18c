"""Serve the requests of each client address a few at a time, in the order in which they came."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.client_address import TrustedProxies
from api.state.turns import Turns
from resop.security.client_group import client_group

AT_ONCE = 16
"""Requests of one address that are at work at the same time."""
MAX_TURN_SECONDS = 1.0
"""A turn ends at the latest after this time, whatever its request waits for."""


class TakeTurns:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, trusted_proxies: str) -> None:
        self._app = app
        self._turns = Turns(AT_ONCE)
        self._proxies = TrustedProxies(trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; its turn ends when its answer begins."""
        client = scope.get("client")
        if scope["type"] != "http" or client is None or client[0] in self._proxies:
            await self._app(scope, receive, send)
            return
        turn = await self._turns.take(client_group(client[0]))
        deadline = asyncio.get_running_loop().call_later(MAX_TURN_SECONDS, turn.end)

        async def send_after_turn(message: Message) -> None:
            turn.end()
            await send(message)

        try:
            await self._app(scope, receive, send_after_turn)
        finally:
            deadline.cancel()
            turn.end()
