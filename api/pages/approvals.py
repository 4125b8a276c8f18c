"""The pages for approvals: what waits for the user, one request, and the decision about it."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from api.pages.browser_session import caller_of
from api.pages.form_data import read_own_form
from api.pages.rendering import page, page_frame
from api.state.services import services_of
from api.tasks.approval_decisions import Verdict, decide
from api.tasks.approval_preview import approval_details
from api.tasks.approvers import Approver
from resop.errors import InvalidOptions
from resop.storage.models import MAX_REASON_LENGTH
from resop.storage.serializers import approval_json

APPROVALS_PER_PAGE = 50
MAX_CURSOR_DIGITS = 9


async def show_waiting(request: Request) -> Response:
    """Return the page with the requests that wait for the user."""
    caller, services = await caller_of(request), services_of(request)
    approver = await Approver.of(services, caller.token)
    found = await approver.waiting(APPROVALS_PER_PAGE, request.query_params.get("cursor", "")[:36])
    return await page(
        "approvals.html",
        requests=[approval_json(each, True) for each in found.approvals],
        next=found.next,
        **page_frame(request, caller.token),
    )


async def show_one(request: Request) -> Response:
    """Return the page of one request: what would run, and the form to decide."""
    caller, services = await caller_of(request), services_of(request)
    approver = await Approver.of(services, caller.token)
    approval = await approver.visible(request.path_params["approval_id"])
    if not approver.has_requested(approval):
        caller.context.options = {"user": f"{approval.username}@{approval.cluster}"}
    cursor = request.query_params.get("cursor", "")
    after = int(cursor) if cursor.isdecimal() and len(cursor) <= MAX_CURSOR_DIGITS else -1
    may_decide = await approver.may_decide(approval)
    found = await run_in_threadpool(approval_details, services, approval, may_decide, after)
    return await page(
        "approval.html",
        approval=found,
        max_reason=MAX_REASON_LENGTH,
        **page_frame(request, caller.token),
    )


async def decide_one(request: Request) -> Response:
    """Record the decision of the form, and show the request again."""
    caller, services = await caller_of(request), services_of(request)
    sent = await read_own_form(request)
    approval_id, reason = request.path_params["approval_id"], sent.get("reason", "").strip()
    choice = sent.get("decision", "")
    if choice not in ("approve", "refuse"):
        raise InvalidOptions.of("decision", "must be approve or refuse")
    if len(reason) > MAX_REASON_LENGTH:
        raise InvalidOptions.of("reason", f"must have at most {MAX_REASON_LENGTH} characters")
    if choice == "refuse" and not reason:
        raise InvalidOptions.of("reason", "is needed to refuse: the user who asked will see it")
    verdict = Verdict(choice == "approve", sent.get("digest", ""), reason)
    await decide(services, caller, approval_id, verdict)
    return RedirectResponse(f"/pages/approvals/{approval_id}", 303)
