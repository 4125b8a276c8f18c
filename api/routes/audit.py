"""Show the audit log to auditors; each such read has an entry as well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime

from api.auth.auditors import parse_user, require_auditor
from api.auth.dependencies import CurrentCaller, ServicesDep
from api.http.row_stream import csv_response
from api.routes.audit_models import AuditPage
from api.state.services import Services
from resop.errors import RecordsUnavailable
from resop.storage.audit_export import entry_json
from resop.storage.audit_log import AuditFilter
from resop.storage.models import AuditEntry, RequestOutcome

router = APIRouter(prefix="/audit", tags=["audit"])

ENTRIES_PER_PAGE = 50
MAX_ENTRIES_PER_PAGE = 500
EXPORT_PAGE = 500
COLUMNS = (*AuditEntry.model_fields, "task_state")


def _audit_filter(
    services: ServicesDep,
    caller: CurrentCaller,
    user: Annotated[
        str | None, Query(max_length=129, description="Only entries of this user: NAME@CLUSTER.")
    ] = None,
    action: Annotated[
        str | None,
        Query(max_length=129, description="Only this action (`operator:name`); `*` is any text."),
    ] = None,
    outcome: Annotated[
        RequestOutcome | None, Query(description="Only entries with this outcome.")
    ] = None,
    task: Annotated[
        str | None, Query(max_length=36, description="Only entries of this task or batch (id).")
    ] = None,
    acting: Annotated[bool, Query(description="Without requests that only read.")] = False,
    since: Annotated[
        AwareDatetime | None, Query(description="Only entries written at this time or later.")
    ] = None,
    until: Annotated[
        AwareDatetime | None, Query(description="Only entries written before this time.")
    ] = None,
) -> AuditFilter:
    """Return the filter, which is also in the entry of this read."""
    require_auditor(services, caller)
    found = AuditFilter(
        user=None if user is None else str(parse_user(services, user)),
        action=action,
        outcome=outcome,
        task=task,
        acting=acting,
        since=since,
        until=until,
    )
    caller.context.options = found.model_dump(mode="json", exclude_defaults=True)
    return found


FilterQuery = Annotated[AuditFilter, Depends(_audit_filter)]


@router.get("", responses={200: {"model": AuditPage}})
def list_entries(
    services: ServicesDep,
    audit_filter: FilterQuery,
    limit: Annotated[
        int,
        Query(ge=1, le=MAX_ENTRIES_PER_PAGE, description="Maximum number of entries on a page."),
    ] = ENTRIES_PER_PAGE,
    cursor: Annotated[
        str | None,
        Query(max_length=36, description="Continue a listing: `next` of the previous page."),
    ] = None,
) -> dict[str, Any]:
    """List entries of the audit log, newest first. For users in the setting AUDITORS.

    `task_state` is the state of the entry's task, or of the tasks of its batch; null if it was
    deleted. `next` is the cursor of the next page; null on the last page.
    """
    page, more = _page(services, audit_filter, limit, cursor)
    return {"entries": page, "next": page[-1]["id"] if more else None}


@router.get("/export.csv", response_class=StreamingResponse)
def export_csv(services: ServicesDep, audit_filter: FilterQuery) -> StreamingResponse:
    """Export all matching entries as CSV (RFC 4180), newest first; no cell is a formula."""
    return csv_response(COLUMNS, _all(services, audit_filter))


def _all(services: Services, audit_filter: AuditFilter) -> Iterator[dict[str, Any]]:
    cursor, more = None, True
    while more:
        page, more = _page(services, audit_filter, EXPORT_PAGE, cursor)
        yield from page
        cursor = page[-1]["id"] if page else None


def _page(
    services: Services, audit_filter: AuditFilter, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], bool]:
    """Return a page of entries as JSON, and whether there are more."""
    log = services.storage.audit_log
    try:
        found = log.entries(audit_filter, limit + 1, cursor)
    except RecordsUnavailable as fault:
        raise RecordsUnavailable(
            "the audit log cannot be read now; if that lasts, the administrator must allow the "
            "service's database user to read it"
        ) from fault
    states = log.task_states(found[:limit])
    page = [
        entry_json(entry) | {"task_state": states.get(entry.task or "")} for entry in found[:limit]
    ]
    return page, len(found) > limit
