"""Give every request an id, a log line, and an answer even if the service itself fails."""

from __future__ import annotations

import logging
import re
import time

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.errors import error_response
from api.http.request_context import RequestContext
from api.middleware.proxy_headers import came_through_trusted_proxy
from resop.config.logging import log_event
from resop.errors import ServiceFault
from resop.storage.ids import new_id

log = logging.getLogger(__name__)

REQUEST_ID_HEADER = "X-Request-Id"
_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


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
        context = _begin(scope)
        status = 0
        task = ""

        async def send_with_id(message: Message) -> None:
            nonlocal status, task
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID_HEADER] = context.id
                # /tasks/ID, or the page of that task.
                task = headers.get("location", "").partition("/tasks/")[2]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            # The last line of defence: the client gets an id, the log has the traceback.
            log.exception("request %s: a fault of the service", context.id)
            context.refused(ServiceFault.__name__)
            if not status:
                await _fault_response(context.id)(scope, receive, send_with_id)
        finally:
            log_event(
                log,
                "request",
                request=context.id,
                client_request=context.client_request,
                method=context.method,
                path=context.path,
                status=status,
                user=context.username,
                task=task,
                seconds=time.monotonic() - began,
            )


def _fault_response(request_id: str) -> JSONResponse:
    fault = ServiceFault(
        "the service failed to handle this request; report it with the request id "
        f"{request_id}, which is also in the service's log"
    )
    return error_response(fault, request=request_id)


def _begin(scope: Scope) -> RequestContext:
    """Give the request an id: that of a trusted proxy, else a new one.

    The id of any other client is only noted: it could be that of another request.
    """
    header = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
    if not _VALID_ID.fullmatch(header):
        return RequestContext.begin(scope, new_id())
    if came_through_trusted_proxy(scope):
        return RequestContext.begin(scope, header)
    return RequestContext.begin(scope, new_id(), client_request=header)
