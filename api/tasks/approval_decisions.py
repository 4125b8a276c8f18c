"""Approve or refuse what waits for approval: once, for all processes."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from api.http.request_context import Caller
from api.state.services import Services
from api.tasks.approval_preview import check_unchanged
from api.tasks.approvers import Approver
from resop.access.approval_digests import decision_signature
from resop.errors import (
    ApprovalDecided,
    ApprovalRefused,
    InvalidOptions,
    QueueUnavailable,
    RequesterLoggedOut,
    TokenRefused,
    UnknownApproval,
)
from resop.messaging.messages import BatchReady, Message, Resync, TaskEnded, TasksChanged
from resop.security.tokens import Token
from resop.storage.login_ends import LoginEnds
from resop.storage.models import Approval, ApprovalState, AuditEntry, RequestOutcome, now

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision that somebody sends about a request for approval."""

    approve: bool
    digest: str = ""
    """The digest of the request as the approver has seen it."""
    reason: str = ""

    @property
    def state(self) -> ApprovalState:
        """The state of a request after this verdict."""
        return ApprovalState.APPROVED if self.approve else ApprovalState.REFUSED


async def decide(
    services: Services, caller: Caller, approval_id: str, verdict: Verdict
) -> Approval:
    """Record a verdict, and let the tasks run or end them; return the request as decided.

    Repeating the same verdict changes nothing. Raises UnknownApproval, NotPermitted,
    ApprovalDecided, ApprovalOutdated, RequesterLoggedOut or InvalidOptions.
    """
    approver = await Approver.of(services, caller.token)
    approval = await approver.decidable(approval_id)
    caller.context.action = f"{approval.operator}:{approval.action}"
    caller.context.options = _audited(approval, verdict)
    if approval.state != ApprovalState.PENDING:
        return _repeated(approval, caller.token, verdict)
    if verdict.approve and verdict.digest != approval.digest:
        message = "is not the digest of this request: look at what you are about to approve"
        raise InvalidOptions.of("digest", message)
    return await run_in_threadpool(_record, services, caller, approval, verdict)


def _record(services: Services, caller: Caller, approval: Approval, verdict: Verdict) -> Approval:
    """Write a verdict with its audit entry, and tell the other processes."""
    token, context = caller.token, caller.context
    if verdict.approve and services.storage.approvals.has_waiting_task(approval):
        check_unchanged(services, approval)
    decided = approval.model_copy(
        update={
            "state": verdict.state,
            "decided_at": now(),
            "decided_by": token.username,
            "decided_on": token.cluster,
            "decided_with": token.credential,
            # As the database returns it, which refuses half a surrogate pair: it is signed.
            "reason": verdict.reason.encode("utf-8", "replace").decode(),
        }
    )
    decided.signature = decision_signature(services.access.encryptor, decided)
    entry: AuditEntry = context.audit_entry(
        RequestOutcome.DONE, 200, approval.task or approval.batch
    )
    error = None if verdict.approve else _refusal(decided)
    if not services.storage.approvals.decide(decided, entry, error):
        current = services.storage.approvals.get(approval.id)
        return _explain(services, current, token, verdict)
    context.needs_audit = False
    _announce(services, decided)
    return decided


def _announce(services: Services, decided: Approval) -> None:
    """Queue an approved task and wake waiting requests; without Redis the workers find it."""
    messages: list[Message] = [Resync(), BatchReady()]
    if decided.task is not None and decided.state == ApprovalState.APPROVED:
        credential = services.storage.credentials.find(decided.credential)
        worker = (credential.worker if credential is not None else None) or ""
        if not services.messaging.submitter.queue(decided.task, decided.cluster, worker):
            log.warning("task %s: approved, and not queued yet: no Redis", decided.task)
        messages = [TasksChanged([decided.task])]
    elif decided.task is not None:
        messages = [TaskEnded(decided.task)]
    try:
        services.messaging.publisher.publish(*messages)
    except QueueUnavailable:
        log.warning("approval %s: the decision was not published: no Redis", decided.id)


def _explain(
    services: Services, current: Approval | None, token: Token, verdict: Verdict
) -> Approval:
    """Return the request if it is decided in the same way meanwhile; else raise the reason."""
    if current is None:
        raise UnknownApproval
    if current.state != ApprovalState.PENDING:
        return _repeated(current, token, verdict)
    ends = LoginEnds(services.storage.database)
    if (reason := ends.reason_of(current.credential)) is not None:
        raise RequesterLoggedOut(
            f"the login with which {current.username}@{current.cluster} asked has ended "
            f"({reason}), and the task with it: it has to be requested again"
        )
    if ends.reason_of(token.credential) is not None:
        raise TokenRefused
    over = current.expires_at <= now()
    what = "its time is over" if over else "its task was cancelled or has ended"
    raise ApprovalDecided(f"nothing waits for this approval any more: {what}")


def _repeated(approval: Approval, token: Token, verdict: Verdict) -> Approval:
    """Return a request that this user has decided in the same way. Raises ApprovalDecided."""
    by = approval.decided_by, approval.decided_on
    if approval.state == verdict.state and by == token.identity:
        return approval
    who = f" by {approval.decided_by}@{approval.decided_on}" if approval.decided_by else ""
    raise ApprovalDecided(f"this request is {approval.state}{who}", state=approval.state)


def _refusal(decided: Approval) -> ApprovalRefused:
    """Return the error of the tasks of a refused request."""
    who = f"{decided.decided_by}@{decided.decided_on}"
    return ApprovalRefused(f"{who} has refused to approve this: {decided.reason}", decided_by=who)


def _audited(approval: Approval, verdict: Verdict) -> dict[str, str]:
    """Return what the audit entry of a decision says."""
    return {
        "approval": approval.id,
        "decision": str(verdict.state),
        "digest": approval.digest,
        "requested_by": f"{approval.username}@{approval.cluster}",
        "rule": approval.rule,
        **({"reason": verdict.reason} if verdict.reason else {}),
    }
