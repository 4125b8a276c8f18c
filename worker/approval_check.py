"""Check that a task that needs approval has it, before it runs: the worker believes no API process.

What is checked depends on the database and on the worker's own policy and operators only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from resop.access.approval_digests import PAYLOAD_KEY, is_signed, made_by, task_digest
from resop.access.permissions import Permissions
from resop.access.second_person import Account, may_be_same_person
from resop.actions.catalog import Catalog
from resop.config.policy import Decision
from resop.errors import ApprovalOutdated, ApprovalRequired
from resop.security.encryption import Encryptor
from resop.security.identity import Identity
from resop.storage.approvals import ApprovalStore
from resop.storage.credentials import CredentialStore
from resop.storage.models import DRY_RUN, Approval, ApprovalState, ClaimedTask
from resop.types import ActionKind


class ApprovalCheck:
    """Checks the approvals of the tasks of one worker."""

    def __init__(
        self,
        approvals: ApprovalStore,
        credentials: CredentialStore,
        permissions: Permissions,
        encryptor: Encryptor,
        catalog: Catalog,
    ) -> None:
        self._approvals = approvals
        self._credentials = credentials
        self._permissions = permissions
        self._encryptor = encryptor
        self._catalog = catalog

    async def check(
        self, task: ClaimedTask, payload: Mapping[str, Any], decision: Decision
    ) -> None:
        """Raise ApprovalRequired or ApprovalOutdated unless the task may run.

        `decision` is what this worker's policy says. A task that was made to wait for approval
        needs it, even if the policy no longer says so.
        """
        asked = payload.get(PAYLOAD_KEY)
        if asked is None:
            # A dry run changes nothing, so it needs none.
            decision.enforce(with_approval=task.kind == DRY_RUN)
            return
        approval = await asyncio.to_thread(self._approvals.get, asked["id"])
        if approval is None or not self._is_approved(task, approval):
            raise ApprovalRequired(f"task {task.id} has no approval", rule=decision.place)
        if task.resume_count:
            return  # it has begun: what it is, and who approved it, was checked then
        self._check_digest(task, payload, asked["digest"])
        await self._check_approver(approval, decision)

    def _is_approved(self, task: ClaimedTask, approval: Approval) -> bool:
        """Return True if this service has recorded that the task, or its batch, was approved."""
        subject = (None, task.batch) if task.batch is not None else (task.id, None)
        return (
            approval.state == ApprovalState.APPROVED
            and (approval.task, approval.batch) == subject
            and is_signed(self._encryptor, approval)
        )

    def _check_digest(self, task: ClaimedTask, payload: Mapping[str, Any], digest: str) -> None:
        """Raise ApprovalOutdated if the task would now run something else."""
        action = self._catalog.action(task.operator, ActionKind(task.kind).code, task.action)
        identity = Identity(task.username, task.cluster)
        if not made_by(
            self._encryptor,
            digest,
            lambda key: task_digest(key, self._catalog, action, identity, payload["options"]),
        ):
            raise ApprovalOutdated

    async def _check_approver(self, approval: Approval, decision: Decision) -> None:
        """Raise ApprovalRequired if the policy no longer names the user who approved."""
        approver = Identity(approval.decided_by, approval.decided_on)
        groups = await self._permissions.groups_of(approval.decided_with)
        named = decision.approvers is None or decision.approvers.include(approver, groups)
        if not named or await asyncio.to_thread(self._is_unfit, approval, approver):
            raise ApprovalRequired(
                f"{approver} has approved this, and may not do so any more", rule=decision.place
            )

    def _is_unfit(self, approval: Approval, approver: Identity) -> bool:
        """Return True for an approver who is blocked, or may be the user who asked."""
        requester = Account(Identity(approval.username, approval.cluster), approval.uid)
        decider = Account(approver, self._credentials.uid(approval.decided_with))
        return may_be_same_person(requester, decider) or self._approvals.is_blocked(*approver)
