"""Find the requests for approval that a user may see, and that the user may decide.

The present policy decides, for the user who asks and for the one who approves: a rule that has
changed since counts as it is now.
"""

from __future__ import annotations

from typing import NamedTuple

from starlette.concurrency import run_in_threadpool

from api.state.services import Services
from resop.access.second_person import Account, may_be_same_person
from resop.errors import NotPermitted, UnknownApproval
from resop.security.identity import Identity
from resop.security.tokens import Token
from resop.storage.models import Approval

APPROVALS_PER_READ = 100


class ApprovalPage(NamedTuple):
    """A part of the list of requests that wait for a user."""

    approvals: list[Approval]
    next: str | None
    """The cursor of the next page; None on the last."""


class Approver:
    """A user who looks at requests for approval, with the login of one request."""

    def __init__(self, services: Services, token: Token, uid: int | None) -> None:
        """Set up; `uid` is the number of the user's account on its cluster."""
        self._services = services
        self._token = token
        self._account = Account(token.identity, uid)

    @classmethod
    async def of(cls, services: Services, token: Token) -> Approver:
        """Return the user of a token."""
        uid = await run_in_threadpool(services.storage.credentials.uid, token.credential)
        return cls(services, token, uid)

    async def waiting(self, limit: int, after: str = "") -> ApprovalPage:
        """Return the requests that wait for this user, oldest first, after the last id seen."""
        found: list[Approval] = []
        while len(found) <= limit:
            read = await run_in_threadpool(
                self._services.storage.approvals.waiting, APPROVALS_PER_READ, after
            )
            found += [each for each in read if await self.may_decide(each)]
            if len(read) < APPROVALS_PER_READ:
                break
            after = read[-1].id
        page = found[:limit]
        return ApprovalPage(page, page[-1].id if len(found) > limit else None)

    async def visible(self, approval_id: str) -> Approval:
        """Return a request of this user, or one that the user is named for.

        Raises UnknownApproval for any other.
        """
        approval = await run_in_threadpool(self._services.storage.approvals.get, approval_id)
        if approval is None or not (self.has_requested(approval) or await self._is_named(approval)):
            raise UnknownApproval(f"there is no request for approval {approval_id!r}")
        return approval

    async def decidable(self, approval_id: str) -> Approval:
        """Return a request that this user may decide. Raises UnknownApproval or NotPermitted."""
        approval = await self.visible(approval_id)
        if self._is_same_person(approval):
            raise NotPermitted(
                f"{approval.username}@{approval.cluster} has asked for this and may be the same "
                "person as you: it takes a second person to approve it"
            )
        return approval

    async def may_decide(self, approval: Approval) -> bool:
        """Return True if this user may decide a request."""
        return not self._is_same_person(approval) and await self._is_named(approval)

    def has_requested(self, approval: Approval) -> bool:
        """Return True if the request is this user's own."""
        return (approval.username, approval.cluster) == self._account.identity

    def _is_same_person(self, approval: Approval) -> bool:
        requester = Account(Identity(approval.username, approval.cluster), approval.uid)
        return may_be_same_person(requester, self._account)

    async def _is_named(self, approval: Approval) -> bool:
        """Return True if the rule that allows the request names this user as an approver."""
        permissions = self._services.access.permissions
        title = f"{approval.operator}:{approval.action}"
        requester = Identity(approval.username, approval.cluster)
        decision = await permissions.decide(title, requester, approval.credential, None)
        if not decision.allowed or decision.approvers is None:
            return False
        groups = await permissions.groups_of(self._token.credential)
        return decision.approvers.include(self._account.identity, groups)
