"""Answer HEAD wherever there is an answer to GET (RFC 9110, section 9.3.2).

The routes see a GET; `RequestContext.is_head` is for routes that would do more than read. Only the
headers of the answer are sent, and no more of its content is made: the application learns that the
client has gone, as it does when a client hangs up.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.http_limits import TRANSFER_PATHS, is_transfer

_WITH_OWN_HEAD = TRANSFER_PATHS[:1]
"""HEAD of a file has options of its own."""


class HeadRequests:
    """ASGI middleware, the innermost: for the others, the request stays a HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if (
            scope["type"] != "http"
            or scope["method"] != "HEAD"
            or is_transfer(scope["path"], _WITH_OWN_HEAD)
        ):
            await self._app(scope, receive, send)
            return
        answered = asyncio.Event()
        routed = {**scope, "method": "GET"}

        async def receive_until_answered() -> Message:
            await answered.wait()
            return {"type": "http.disconnect"}

        async def send_headers(message: Message) -> None:
            if message["type"] != "http.response.start" or answered.is_set():
                return
            if "endpoint" in routed:
                scope["endpoint"] = routed["endpoint"]  # for the audit log: there is such a path
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            answered.set()

        await self._app(routed, receive_until_answered, send_headers)
