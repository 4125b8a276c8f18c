"""Write an audit entry for every request that acts, before it is answered.

The entry of a task is written in the task's own transaction (`RequestContext.accepted`).
"""

from __future__ import annotations

import logging
import re

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.request_context import context_of
from api.http.starlette_internals import is_routed
from resop.errors import RecordsUnavailable
from resop.storage.audit_log import AuditLog
from resop.storage.models import RequestOutcome

log = logging.getLogger(__name__)

ACTING_METHODS = frozenset(["POST", "PUT", "PATCH", "DELETE"])
_NEW_RESOURCE = re.compile(r"/(?:tasks|batches)/([0-9a-f-]{36})$")


class AuditTrail:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, audit: AuditLog) -> None:
        self._app = app
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] not in ACTING_METHODS:
            await self._app(scope, receive, send)
            return

        async def send_audited(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._write_entry(scope, message)
            await send(message)

        await self._app(scope, receive, send_audited)

    async def _write_entry(self, scope: Scope, response: Message) -> None:
        context, status = context_of(scope), response["status"]
        # Without a route for this path and method, the request cannot have changed anything.
        if not context.needs_audit or not is_routed(scope) or status == 405:
            return
        created = _NEW_RESOURCE.search(Headers(raw=response["headers"]).get("location", ""))
        if context.error:
            outcome = RequestOutcome.REFUSED
        else:
            outcome = RequestOutcome.ACCEPTED if created else RequestOutcome.DONE
        entry = context.audit_entry(outcome, status, created[1] if created else None)
        try:
            if context.error == RecordsUnavailable.__name__:
                raise RecordsUnavailable  # no need to wait for the database a second time
            await run_in_threadpool(self._audit.add, entry)
        except RecordsUnavailable:
            log.error("not in the audit log, the database is unavailable: %s", entry)
