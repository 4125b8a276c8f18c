"""Around every request: an id, one line in the log, and an answer even to a fault of ours."""

from __future__ import annotations

import logging
import re
import time

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.errors import respond
from resop.config.logging import log_event
from resop.errors import ServiceFault
from resop.storage.ids import new_id

log = logging.getLogger(__name__)

HEADER = "X-Request-Id"
_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestLog:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        request_id = _request_id(Headers(scope=scope))
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 0
        task = ""

        async def send_with_id(message: Message) -> None:
            nonlocal status, task
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = request_id
                # /tasks/ID, or the page of that task.
                task = headers.get("location", "").partition("/tasks/")[2]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            # The last line of defence: the client gets an id, the log has the traceback.
            log.exception("request %s: a fault of the service", request_id)
            state["error"] = ServiceFault.__name__
            if not status:
                await self._apologise(request_id)(scope, receive, send_with_id)
        finally:
            log_event(
                log,
                "request",
                request=request_id,
                method=scope["method"],
                path=scope["path"],
                status=status,
                user=state.get("username", ""),
                task=task,
                seconds=time.monotonic() - began,
            )

    def _apologise(self, request_id: str) -> JSONResponse:
        fault = ServiceFault(f"a fault of the service; its log has it as request {request_id}")
        return respond(fault, request=request_id)


def _request_id(headers: Headers) -> str:
    """The id that a proxy in front has given, if it is a good one, else a new one."""
    given = headers.get(HEADER, "")
    return given if _GOOD_ID.fullmatch(given) else new_id()
