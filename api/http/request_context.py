"""The context of the request being served, for its log line and its audit entry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from starlette.datastructures import Headers
from starlette.types import Scope

from resop.plain_text import shorten
from resop.security.tokens import Token
from resop.storage.audit_log import bounded_options
from resop.storage.models import MAX_USER_AGENT_LENGTH, AuditEntry, RequestOutcome

MAX_ADDRESS_LENGTH = 64
"""Longer addresses are cut: a proxy passes on whatever it received."""
MAX_PATH_LENGTH = 512
"""Longer paths are cut, in the log and in the audit log: nobody fills them with one request."""
_STATE_KEY = "context"


@dataclass(slots=True)
class RequestContext:
    """One HTTP request; the code that serves it reports here what it learns and does."""

    id: str
    """The request's `X-Request-Id` in the response."""
    method: str
    path: str
    """The path, truncated."""
    address: str
    """The client's address; `local` where the server does not know one."""
    user_agent: str = ""
    """The client's `User-Agent`, without control characters."""
    client_request: str = ""
    """The `X-Request-Id` of a client that came through no trusted proxy."""
    username: str = ""
    """The user of an accepted token or a successful login; empty before that."""
    cluster: str = ""
    action: str = ""
    """`operator:name` of the action that the request asks for."""
    error: str = ""
    """The type of the error that the request was refused with."""
    options: Any = None
    """The action's options, secrets masked."""
    items: Any = None
    """For a batch: what `items_record` says about its items."""
    dry_run: bool = False
    """True for a dry run that has an audit entry: that of a login, or one with a task."""
    needs_audit: bool = True
    """False once an audit entry was written with a task, or if the request changed nothing."""
    _login_name: str = field(default="", repr=False)

    @classmethod
    def begin(cls, scope: Scope, request_id: str, client_request: str = "") -> RequestContext:
        """Make the context of a request and attach it to its ASGI scope."""
        client = scope.get("client")
        context = cls(
            id=request_id,
            method=scope["method"],
            path=shorten(scope["path"], MAX_PATH_LENGTH),
            address=client[0][:MAX_ADDRESS_LENGTH] if client else "local",
            user_agent=_printable(Headers(scope=scope).get("user-agent", "")),
            client_request=client_request,
        )
        scope.setdefault("state", {})[_STATE_KEY] = context
        return context

    def login_attempted(self, username: str, cluster: str) -> None:
        """Note who tries to log in; the audit entry names that user unless the login succeeds."""
        self._login_name, self.cluster = username, cluster

    def refused(self, error_type: str) -> None:
        """Note that the request is answered with an error of this type."""
        self.error = error_type

    def nothing_done(self) -> None:
        """Note that the request changes nothing (a dry run): no audit entry is needed."""
        self.needs_audit = False

    @property
    def is_head(self) -> bool:
        """True if only headers are asked for: the answer's content need not be made."""
        return self.method == "HEAD"

    @property
    def is_anonymous(self) -> bool:
        """True unless the request came with an accepted token, or was a successful login."""
        return not self.username

    def accepted(self, task_id: str) -> AuditEntry:
        """Return the audit entry of an accepted task, for writing in the task's transaction.

        Set `needs_audit` to False once that transaction is committed.
        """
        outcome = RequestOutcome.CHECKED if self.dry_run else RequestOutcome.ACCEPTED
        return self.audit_entry(outcome, 202, task_id)

    def outcome(self, created: str | None) -> RequestOutcome:
        """Return the outcome of the finished request, which `created` that task or batch."""
        if self.error:
            return RequestOutcome.REFUSED
        if self.dry_run:
            return RequestOutcome.CHECKED
        return RequestOutcome.ACCEPTED if created else RequestOutcome.DONE

    def audit_entry(
        self, outcome: RequestOutcome, status: int, task_id: str | None = None
    ) -> AuditEntry:
        """Return the audit entry of this request; `task_id` may also name a batch."""
        return AuditEntry(
            username=self.username or self._login_name,
            cluster=self.cluster,
            address=self.address,
            method=self.method,
            path=self.path,
            action=self.action,
            options=bounded_options(self.options),
            outcome=outcome,
            status=status,
            error=self.error or None,
            task=task_id,
            request=self.id,
            client_request=self.client_request or None,
            items=self.items,
        )


def _printable(text: str) -> str:
    return "".join(filter(str.isprintable, text[:MAX_USER_AGENT_LENGTH]))


def context_of(scope: Scope) -> RequestContext:
    """Return the context that the middleware attached to a request's ASGI scope."""
    return cast(RequestContext, scope["state"][_STATE_KEY])


class Caller(NamedTuple):
    """A logged-in user and the request that the user makes."""

    token: Token
    context: RequestContext
