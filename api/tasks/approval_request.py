"""Request approval for the tasks of one request, where the policy requires it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from api.http.request_context import Caller
from api.state.services import Services
from resop.access.approval_digests import PAYLOAD_KEY, batch_digest, task_digest
from resop.actions.call import ActionCall
from resop.config.policy import Decision
from resop.storage.ids import new_id
from resop.storage.models import Approval, Batch, State, Task, now


class ApprovalRequest:
    """The request for approval that a task, or all tasks of a batch, are made with."""

    def __init__(self, services: Services, caller: Caller, decision: Decision) -> None:
        """Begin a request under the rule of `decision`, which names the approvers."""
        self.id = new_id()
        self._services = services
        self._caller = caller
        self._decision = decision
        self._digests: list[str] = []

    @classmethod
    def of(cls, services: Services, caller: Caller, decision: Decision) -> ApprovalRequest | None:
        """Return a request if the decision requires one, else None."""
        return None if decision.approvers is None else cls(services, caller, decision)

    def admit(self, task: Task, call: ActionCall) -> dict[str, Any]:
        """Let a new task wait for this request; return what its payload has to say about it."""
        encryptor, catalog = self._services.access.encryptor, self._services.catalog
        identity = self._caller.token.identity
        digest = task_digest(encryptor, catalog, call.action, identity, call.values)
        self._digests.append(digest)
        task.state, task.approval = State.PENDING_APPROVAL, self.id
        return {PAYLOAD_KEY: {"id": self.id, "digest": digest}}

    def row(self, subject: Task | Batch) -> Approval:
        """Return the request as it is stored with its task or batch. Blocks."""
        services, token = self._services, self._caller.token
        credential = services.storage.credentials.find(token.credential)
        until = now() + timedelta(hours=services.settings.APPROVAL_HOURS)
        if credential is not None:
            until = min(until, credential.expires_at)
        approvers = self._decision.approvers
        assert approvers is not None
        return Approval(
            id=self.id,
            task=None if isinstance(subject, Batch) else subject.id,
            batch=subject.id if isinstance(subject, Batch) else None,
            kind=subject.kind,
            operator=subject.operator,
            action=subject.action,
            username=token.username,
            cluster=token.cluster,
            credential=token.credential,
            uid=None if credential is None else credential.uid,
            rule=self._decision.place,
            digest=self._digest(subject),
            notify=approvers.notify,
            expires_at=until,
        )

    def audit_record(self, subject: Task | Batch) -> dict[str, Any]:
        """Return what the audit entry of the task or batch says about the request."""
        facts = {"id": self.id, "digest": self._digest(subject), "rule": self._decision.place}
        return {"approval": facts}

    def _digest(self, subject: Task | Batch) -> str:
        if isinstance(subject, Batch):
            return batch_digest(self._services.access.encryptor, self._digests)
        (digest,) = self._digests
        return digest
