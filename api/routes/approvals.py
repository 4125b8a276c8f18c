"""See, approve and refuse what waits for a second person's approval."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.concurrency import run_in_threadpool

from api.auth.dependencies import CurrentPerson, ServicesDep
from api.http.body import read_options
from api.routes.approval_models import ApprovalDetails, ApprovalPage, DecidedApproval
from api.tasks.approval_decisions import Verdict, decide
from api.tasks.approval_preview import approval_details
from api.tasks.approvers import Approver
from resop.actions.options import check_options
from resop.storage.models import MAX_REASON_LENGTH
from resop.storage.serializers import approval_json

router = APIRouter(prefix="/approvals", tags=["approvals"])

APPROVALS_PER_PAGE = 50
ApprovalId = Annotated[str, Path(max_length=36)]
Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_REASON_LENGTH)
]


class Consent(BaseModel):
    """The decision to let it run."""

    model_config = ConfigDict(extra="forbid")

    digest: Annotated[
        str,
        Field(max_length=64, description="`digest` of the request as you have seen it."),
    ]
    reason: Annotated[Reason | None, Field(description="Why; for the record.")] = None


class Refusal(BaseModel):
    """The decision against it."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[Reason, Field(description="Why, as the user who asked will see it.")]


@router.get("", responses={200: {"model": ApprovalPage}})
async def list_approvals(
    services: ServicesDep,
    caller: CurrentPerson,
    limit: Annotated[
        int, Query(ge=1, le=200, description="Maximum number of requests on a page.")
    ] = APPROVALS_PER_PAGE,
    cursor: Annotated[
        str, Query(max_length=36, description="Continue a listing: `next` of the previous page.")
    ] = "",
) -> dict[str, Any]:
    """List the requests for approval that wait for you, oldest first.

    Those are the tasks and batches for which a rule of the policy names you as an approver, and
    that somebody else has asked for.
    """
    approver = await Approver.of(services, caller.token)
    page = await approver.waiting(limit, cursor)
    return {"approvals": [approval_json(each, True) for each in page.approvals], "next": page.next}


@router.get("/{approval_id}", responses={200: {"model": ApprovalDetails}})
async def show_approval(
    approval_id: ApprovalId,
    services: ServicesDep,
    caller: CurrentPerson,
    cursor: Annotated[
        int, Query(ge=-1, lt=1 << 31, description="Continue the items of a batch: its `next`.")
    ] = -1,
) -> dict[str, Any]:
    """Show a request: who asks, what would run with which options, and the decision.

    `items` has the command line, or the first step of an operation that shows it, and the options,
    secrets masked; there are several if it is a batch. They are shown while the request waits.
    """
    approver = await Approver.of(services, caller.token)
    approval = await approver.visible(approval_id)
    if not approver.has_requested(approval):
        caller.context.options = {"user": f"{approval.username}@{approval.cluster}"}
    may_decide = await approver.may_decide(approval)
    return await run_in_threadpool(approval_details, services, approval, may_decide, cursor)


@router.post(
    "/{approval_id}/approve",
    responses={200: {"model": DecidedApproval}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": Consent.model_json_schema()}},
        }
    },
)
async def approve(
    approval_id: ApprovalId, services: ServicesDep, caller: CurrentPerson, request: Request
) -> dict[str, Any]:
    """Approve a request: its task is queued, and runs with the rights of the user who asked.

    It runs exactly as it was asked for. Repeating this changes nothing; a request that is decided
    otherwise, or has ended, is answered with 409.
    """
    options = await read_options(request, Consent)
    consent = await run_in_threadpool(partial(check_options, Consent, options))
    assert isinstance(consent, Consent)
    verdict = Verdict(True, consent.digest, consent.reason or "")
    decided = await decide(services, caller, approval_id, verdict)
    return {"success": True, **(approval_json(decided, False) or {})}


@router.post(
    "/{approval_id}/refuse",
    responses={200: {"model": DecidedApproval}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": Refusal.model_json_schema()}},
        }
    },
)
async def refuse(
    approval_id: ApprovalId, services: ServicesDep, caller: CurrentPerson, request: Request
) -> dict[str, Any]:
    """Refuse a request: its task fails with `ApprovalRefused`, and the reason that you give.

    Repeating this changes nothing; a request that is decided otherwise, or has ended, is answered
    with 409.
    """
    options = await read_options(request, Refusal)
    refusal = await run_in_threadpool(partial(check_options, Refusal, options))
    assert isinstance(refusal, Refusal)
    verdict = Verdict(False, reason=refusal.reason)
    decided = await decide(services, caller, approval_id, verdict)
    return {"success": True, **(approval_json(decided, False) or {})}
