"""Give up a request whose body does not arrive: too long a pause, or too slow on the whole.

/files and /folders are left alone: they have limits of their own (api/http/upload.py), and may take
as long as a file needs.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.http_limits import is_transfer
from resop.errors import BodyTruncated, RequestTimedOut

MIN_BYTES_PER_SECOND = 500
"""How fast a body must arrive on average, after the first pause that is allowed."""
METHODS = frozenset(["POST", "PUT", "PATCH"])
"""Other requests are answered without reading a body."""


class BodyTimeout:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if (
            scope["type"] == "http"
            and scope["method"] in METHODS
            and not is_transfer(scope["path"])
        ):
            body = _TimedBody(receive, send, self._seconds)
            receive, send = body.receive, body.send
        await self._app(scope, receive, send)


class _TimedBody:
    """The body of one request; errors are raised where the application reads it."""

    def __init__(self, receive: Receive, send: Send, seconds: float) -> None:
        self._receive = receive
        self._send = send
        self._seconds = seconds
        self._began = asyncio.get_running_loop().time()
        self._size = 0
        self._ended = False
        self._answered = False

    async def send(self, message: Message) -> None:
        """Note that the request is being answered: nobody needs its body any more."""
        self._answered = True
        await self._send(message)

    async def receive(self) -> Message:
        """Return what arrives. Raises RequestTimedOut, and BodyTruncated if the client left."""
        if self._ended:
            return await self._receive()
        now = asyncio.get_running_loop().time()
        slowest = self._began + self._seconds + self._size / MIN_BYTES_PER_SECOND
        try:
            async with asyncio.timeout_at(min(now + self._seconds, slowest)):
                message = await self._receive()
        except TimeoutError:
            self._ended = True
            if self._answered:
                return {"type": "http.disconnect"}
            raise RequestTimedOut(
                f"the body did not arrive in time: a pause may take {self._seconds:g} s, and "
                f"{MIN_BYTES_PER_SECOND} bytes have to arrive each second on average"
            ) from None
        if message["type"] == "http.disconnect":
            self._ended = True
            if not self._answered:
                raise BodyTruncated
        else:
            self._size += len(message.get("body", b""))
            self._ended = not message.get("more_body", False)
        return message
