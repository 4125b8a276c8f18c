"""End the tasks that nobody has approved in time: a chore of every worker."""

from __future__ import annotations

import logging

from resop.config.logging import log_event
from resop.errors import ApprovalExpired
from resop.messaging.messages import BatchReady, Message, Resync, TaskEnded
from resop.messaging.publisher import EventPublisher
from resop.storage.approvals import ApprovalStore
from resop.storage.models import Approval, AuditEntry, RequestOutcome
from resop.storage.serializers import iso_time
from worker.audit import METHOD

log = logging.getLogger(__name__)

ENDED_AT_ONCE = 100
"""Requests that are ended at one heartbeat."""


class ApprovalExpiry:
    """Ends the requests for approval whose time is over."""

    def __init__(self, worker: str, approvals: ApprovalStore, publisher: EventPublisher) -> None:
        self._worker = worker
        self._approvals = approvals
        self._publisher = publisher

    def end_expired(self) -> None:
        """End what has expired. Raises RecordsUnavailable or QueueUnavailable."""
        messages: list[Message] = []
        for approval in self._approvals.expired(ENDED_AT_ONCE):
            entry = expiry_entry(approval, self._worker)
            if self._approvals.expire(approval, entry, _error(approval)):
                log_event(log, "approval expired", approval=approval.id, task=entry.task)
                messages += (
                    [TaskEnded(approval.task)] if approval.task else [Resync(), BatchReady()]
                )
        if messages:
            self._publisher.publish(*messages)


def expiry_entry(approval: Approval, worker: str) -> AuditEntry:
    """Return the audit entry of a request that nobody has decided in time."""
    return AuditEntry(
        username=approval.username,
        cluster=approval.cluster,
        address=worker,
        method=METHOD,
        path=f"/approvals/{approval.id}",
        action=f"{approval.operator}:{approval.action}",
        options={"approval": approval.id, "decision": "expired", "digest": approval.digest},
        outcome=RequestOutcome.REFUSED,
        status=403,
        error=ApprovalExpired.__name__,
        task=approval.task or approval.batch,
    )


def _error(approval: Approval) -> ApprovalExpired:
    return ApprovalExpired(
        f"nobody has approved this by {iso_time(approval.expires_at)}: request it again"
    )
