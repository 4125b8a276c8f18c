"""Write an audit entry for every request that acts, and count the requests that read.

The entry of a request that acts is written before it is answered; that of a task in the task's own
transaction (`RequestContext.accepted`). Reads of persons, and requests without a token beyond a
limit, are counted: `resop.storage.audit_summary`.
"""

from __future__ import annotations

import json
import re
from functools import partial

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.request_context import RequestContext, context_of
from api.http.starlette_internals import is_routed
from resop.errors import RecordsUnavailable
from resop.security.client_group import client_group
from resop.storage.audit_recorder import AuditRecorder
from resop.storage.models import AuditEntry

ACTING_METHODS = frozenset(["POST", "PUT", "PATCH", "DELETE"])
_NEW_RESOURCE = re.compile(r"/(?:tasks|batches)/([0-9a-f-]{36})$")


class AuditTrail:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, recorder: AuditRecorder) -> None:
        self._app = app
        self._recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_audited(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._record(scope, message)
            await send(message)

        await self._app(scope, receive, send_audited)

    async def _record(self, scope: Scope, response: Message) -> None:
        context, status = context_of(scope), response["status"]
        # Without a route for this path and method, the request cannot have changed anything.
        if not context.needs_audit or not is_routed(scope) or status == 405:
            return
        location = Headers(raw=response["headers"]).get("location", "")
        created = _NEW_RESOURCE.search(location)
        task_id = created[1] if created else None
        make_entry = partial(context.audit_entry, context.outcome(task_id), status, task_id)
        acting = scope["method"] in ACTING_METHODS
        if context.is_anonymous:
            # Reads that anybody may do are of no interest.
            source = client_group(context.address)
            public = not acting and not context.error
            if public or not self._recorder.admits(source, make_entry):
                return
        elif not acting:
            self._recorder.count(_read_key(context, status), _person(context), make_entry)
            return
        await self._write(context, make_entry(), acting=acting)

    async def _write(self, context: RequestContext, entry: AuditEntry, *, acting: bool) -> None:
        """Write an entry: at once if the request acts, else soon."""
        if not acting:
            self._recorder.write_later(entry)
            return
        try:
            if context.error == RecordsUnavailable.__name__:
                raise RecordsUnavailable  # no need to wait for the database a second time
            await self._recorder.write(entry)
        except RecordsUnavailable:
            self._recorder.report_lost(entry)


def _person(context: RequestContext) -> tuple[str, str]:
    return context.username, context.cluster


def _read_key(context: RequestContext, status: int) -> tuple[object, ...]:
    """Return what equal reads have in common."""
    what = (context.method, context.path, context.action, json.dumps(context.options))
    return (*_person(context), context.address, *what, context.error or status)
