"""End each request with the login of its token: answer 401, or cut the answer off."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.errors import error_response
from api.http.request_context import context_of
from api.state.requests_by_login import RequestsByLogin
from resop.errors import TokenRefused

log = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream"


class EndWithLogin:
    """ASGI middleware, inside of the one that makes the request's context."""

    def __init__(self, app: ASGIApp, requests: RequestsByLogin) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        serving = asyncio.current_task()
        if scope["type"] != "http" or serving is None:
            await self._app(scope, receive, send)
            return
        self._requests.begin(serving)
        content_type: str | None = None

        async def send_noted(message: Message) -> None:
            nonlocal content_type
            if message["type"] != "http.response.start":
                await send(message)
                return
            headers = Headers(raw=message["headers"])
            if headers.get("content-length", "").isdigit() and _is_json(headers):
                self._requests.outlive_login()  # the answer is complete: nothing is left to end
            await send(message)
            # Only now: its audit entry is written before, and the login may end meanwhile.
            content_type = headers.get("content-type", "")

        try:
            await self._app(scope, receive, send_noted)
        except (asyncio.CancelledError, Exception) as fault:
            if not self._requests.was_ended(serving):
                raise
            if not isinstance(fault, asyncio.CancelledError):
                log.warning("a request failed when its login ended: %s", type(fault).__name__)
            serving.uncancel()
            await _end(scope, receive, send, content_type)
        else:
            if self._requests.was_ended(serving):
                await _absorb_cancellation(serving)
        finally:
            self._requests.finish(serving)


def _is_json(headers: Headers) -> bool:
    return headers.get("content-type", "").startswith("application/json")


async def _absorb_cancellation(serving: asyncio.Task[object]) -> None:
    """Take the cancellation of a request that was answered before it arrived."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    serving.uncancel()


async def _end(scope: Scope, receive: Receive, send: Send, content_type: str | None) -> None:
    """Answer 401; an answer that has begun is left without its end, so that clients notice."""
    if content_type is None:
        fault = TokenRefused("the login has ended: log in again")
        context_of(scope).refused(type(fault).__name__)
        await error_response(fault)(scope, receive, send)
    elif content_type.startswith(EVENT_STREAM):
        # An event stream may end at any time: its client reconnects, and is refused.
        await send({"type": "http.response.body", "body": b"", "more_body": False})
