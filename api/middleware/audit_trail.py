"""Around every request that acts: an entry in the audit table, before it is answered.

That of a task is written with the task (`actions.py`): it costs no transaction of its own.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from resop.errors import RecordsUnavailable
from resop.storage.audit_log import AuditLog, truncate_options
from resop.storage.models import AuditEntry, RequestOutcome

log = logging.getLogger(__name__)

ACTING = frozenset(["POST", "PUT", "PATCH", "DELETE"])
LONGEST_ADDRESS = 64
"""A proxy passes on what it was given."""
_MADE = re.compile(r"/(?:tasks|batches)/([0-9a-f-]{36})$")


class AuditTrail:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, audit: AuditLog) -> None:
        self._app = app
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] not in ACTING:
            await self._app(scope, receive, send)
            return

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._note(scope, message)
            await send(message)

        await self._app(scope, receive, send_noted)

    async def _note(self, scope: Scope, answer: Message) -> None:
        state: dict[str, Any] = scope["state"]
        # Where nothing is, or not for this method, nobody can act.
        if state.get("audited") or "endpoint" not in scope or answer["status"] == 405:
            return
        made = _MADE.search(Headers(raw=answer["headers"]).get("location", ""))
        error = state.get("error")
        answered = RequestOutcome.ACCEPTED if made else RequestOutcome.DONE
        entry = entry_of(
            scope,
            outcome=RequestOutcome.REFUSED if error else answered,
            status=answer["status"],
            error=error,
            task=made[1] if made else None,
        )
        try:
            if error == RecordsUnavailable.__name__:
                raise RecordsUnavailable  # as was found just now; no need to wait for it again
            await run_in_threadpool(self._audit.add, entry)
        except RecordsUnavailable:
            log.error("missing in the audit table, the database is away: %s", entry)


def entry_of(scope: Scope, **values: Any) -> AuditEntry:
    """The entry of a request: what is known of it by now, and `values`."""
    state, client = scope["state"], scope.get("client")
    return AuditEntry(
        username=state.get("username") or state.get("claimed", ""),
        cluster=state.get("cluster", ""),
        address=client[0][:LONGEST_ADDRESS] if client else "local",
        method=scope["method"],
        path=scope["path"],
        action=state.get("action", ""),
        options=truncate_options(state.get("options")),
        request=state["request_id"],
        **values,
    )
