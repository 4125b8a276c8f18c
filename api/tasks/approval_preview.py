"""Show to an approver what a task would run: what a dry run shows to the user who asks."""

from __future__ import annotations

from typing import Any, NamedTuple

from api.state.services import Services
from api.tasks.factory import first_step_of
from resop.access.approval_digests import PAYLOAD_KEY, made_by, task_digest
from resop.actions.call import ActionCall
from resop.actions.catalog import Action
from resop.actions.command import Command
from resop.actions.execute import command_step
from resop.errors import ApprovalOutdated, TokenRefused, UnknownAction
from resop.security.identity import Identity
from resop.security.tokens import Token
from resop.storage.approvals import WaitingTask
from resop.storage.models import Approval, ApprovalState
from resop.storage.serializers import approval_json
from resop.types import ActionKind

ITEMS_PER_PAGE = 20
_TASKS_PER_READ = 200


class Preview(NamedTuple):
    """A page of the tasks of a request, as a dry run shows them, and the next cursor."""

    items: list[dict[str, Any]]
    next: int | None


def preview(services: Services, approval: Approval, after: int = -1) -> Preview:
    """Return what the tasks of a request would run, secrets masked, after a number. Blocks.

    Raises ApprovalOutdated if it is not what was asked for.
    """
    found = services.storage.approvals.tasks(approval, ITEMS_PER_PAGE + 1, after)
    shown = found[:ITEMS_PER_PAGE]
    items = [_preview_of(services, approval, each) for each in shown]
    return Preview(items, shown[-1].number if len(found) > len(shown) else None)


def approval_details(
    services: Services, approval: Approval, may_decide: bool, cursor: int = -1
) -> dict[str, Any]:
    """Return a request with what would run, if it still waits. Blocks.

    `outdated` is true if the actions of the service have changed since: then it cannot be approved.
    """
    waits = services.storage.approvals.has_waiting_task(approval)
    pending = waits and approval.state == ApprovalState.PENDING
    shown, outdated = Preview([], None), False
    if pending:
        try:
            shown = preview(services, approval, cursor)
        except ApprovalOutdated:
            outdated = True
    return {
        **(approval_json(approval, waits) or {}),
        "may_decide": may_decide and pending,
        "outdated": outdated,
        "items": shown.items,
        "next": shown.next,
    }


def check_unchanged(services: Services, approval: Approval) -> None:
    """Raise ApprovalOutdated unless the waiting tasks of a request are as asked for. Blocks.

    Items of a batch that were cancelled meanwhile are missing: less may run than was asked for.
    """
    after = -1
    while found := services.storage.approvals.tasks(approval, _TASKS_PER_READ, after):
        digests = [_digest_of(services, approval, each) for each in found]
        last = found[-1].number
        if approval.batch is None or last is None:
            if digests != [approval.digest]:
                raise ApprovalOutdated
            return
        after = last


def _preview_of(services: Services, approval: Approval, task: WaitingTask) -> dict[str, Any]:
    _digest_of(services, approval, task)
    call = ActionCall.check(_action(services, approval), _payload(services, task)["options"])
    item = {} if task.number is None else {"number": task.number, "item": task.parameters}
    return {**item, **_planned(services, approval, call)}


def _planned(services: Services, approval: Approval, call: ActionCall) -> dict[str, Any]:
    """Return the command line or the first step of a call, and its masked options."""
    action = call.action
    if isinstance(action, Command):
        line = command_step(action, call.options).display
        return {"command": call.masker.text(line), "options": call.masked}
    step: dict[str, Any] = {}
    if action.preview:
        requester = Token(approval.username, approval.cluster, approval.credential, "", 0)
        step = first_step_of(services, requester, call)
    return {**step, "options": call.masked}


def _digest_of(services: Services, approval: Approval, task: WaitingTask) -> str:
    """Return the digest that a task was made with. Raises ApprovalOutdated if it is another now."""
    payload = _payload(services, task)
    asked = payload.get(PAYLOAD_KEY, {})
    if asked.get("id") != approval.id:
        raise ApprovalOutdated
    action, catalog = _action(services, approval), services.catalog
    identity = Identity(approval.username, approval.cluster)
    digest: str = asked["digest"]
    if not made_by(
        services.access.encryptor,
        digest,
        lambda key: task_digest(key, catalog, action, identity, payload["options"]),
    ):
        raise ApprovalOutdated
    return digest


def _payload(services: Services, task: WaitingTask) -> dict[str, Any]:
    try:
        return services.access.encryptor.decrypt(task.encrypted_payload or b"", task.id)
    except TokenRefused:  # of another SECRET_KEY, or erased because the task has ended
        raise ApprovalOutdated from None


def _action(services: Services, approval: Approval) -> Action:
    """Return the action of a request. Raises ApprovalOutdated if it no longer exists."""
    kind = ActionKind(approval.kind).code
    try:
        return services.catalog.action(approval.operator, kind, approval.action)
    except UnknownAction:
        raise ApprovalOutdated from None
