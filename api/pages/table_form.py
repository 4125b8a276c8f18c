"""The page that runs an action for each row of a table from the user's disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from api.http.errors import refuse
from api.http.request_context import Caller
from api.http.table_body import parse_table
from api.pages.browser_session import CSRF_FIELD, caller_of, check_csrf_token
from api.pages.form_data import (
    TABLE_FIELD,
    TableForm,
    form_key,
    form_preferences,
    read_table_form,
    run_once_key,
)
from api.pages.form_fields import FormData, FormField, fields_of
from api.pages.forms import action_with_form
from api.pages.rendering import page, page_frame, passed_headers, sentence
from api.state.services import Services, services_of
from api.tasks.launch_batch import LaunchedBatch, launch_batch
from api.tasks.run_action import permit
from resop.actions.catalog import Action
from resop.errors import (
    InvalidOptions,
    NotLoggedIn,
    ResopError,
    TokenRefused,
    UnknownAction,
)
from resop.types import KindCode


@dataclass(frozen=True, slots=True)
class _TablePage:
    """The page of one request."""

    request: Request
    services: Services
    action: Action
    caller: Caller

    async def respond(
        self, form: FormData, *, fault: ResopError | None = None, answer: Any = None
    ) -> Response:
        """Return the page, with a fault or with the answer of a dry run."""
        refused = refuse(self.request, fault) if fault else Response()
        fields = fields_of(self.action)
        return await page(
            "table_form.html",
            refused.status_code,
            passed_headers(refused),
            action=self.action,
            fields=fields,
            columns=",".join(_first_columns(fields)),
            table_field=TABLE_FIELD,
            form=form,
            key=form_key(form),
            faults=_sentences(fault),
            answer=answer,
            size_limit=self.services.settings.BATCH_SIZE,
            **page_frame(self.request, self.caller.token),
        )


async def show_table_form(kind: KindCode, request: Request) -> Response:
    """Show the page, with the columns that a table may have."""
    return await (await _page_of(kind, request)).respond(FormData())


async def submit_table(kind: KindCode, request: Request) -> Response:
    """Launch a batch of the submitted table and show it, or show the page with all faults."""
    found = await _page_of(kind, request)
    sent = await read_table_form(request)
    try:
        check_csrf_token(request, sent.fields.get(CSRF_FIELD, ""))
        launched = await _launch(found, sent)
    except (NotLoggedIn, TokenRefused):
        raise
    except ResopError as fault:
        return await found.respond(sent.fields, fault=fault)
    if launched.dry_run is not None:
        return await found.respond(sent.fields, answer=launched.dry_run)
    return RedirectResponse(f"/pages/batches/{launched.batch_id}", 303)


async def _launch(found: _TablePage, sent: TableForm) -> LaunchedBatch:
    services, options = found.services, found.action.options
    if not sent.content:
        raise InvalidOptions.of("table", "choose a file with a table")
    limit = services.settings.BATCH_SIZE
    table = await run_in_threadpool(parse_table, sent.content, sent.kind, options, limit)
    body = {"items": table.items, "keep_going": bool(sent.fields.get(":keep_going"))}
    key = await run_once_key(sent.fields, body)
    preferences = form_preferences(sent.fields, 0, services.webhook_hosts, key)
    return await launch_batch(services, found.caller, found.action, body, preferences, table)


async def _page_of(kind: KindCode, request: Request) -> _TablePage:
    """Return the page at the request's address. Raises Forbidden if the policy forbids it."""
    services, caller = services_of(request), await caller_of(request)
    operator, name = request.path_params["operator"], request.path_params["action"]
    action = action_with_form(services.catalog, kind, operator, name)
    if action.in_api:
        raise UnknownAction(f"{action.title} cannot be run in a batch")
    await permit(services, caller, action.title, with_approval=True)
    return _TablePage(request, services, action, caller)


def _first_columns(fields: list[FormField]) -> list[str]:
    """Return a header to begin with: the columns that a table needs, or one of the others."""
    return [field.name for field in fields if field.required] or [
        field.name for field in fields[:1]
    ]


def _sentences(fault: ResopError | None) -> list[str]:
    """Return what is wrong, each fault with its place: `line 5, mail: must be an address`."""
    if isinstance(fault, InvalidOptions):
        faults = [f"{each['field']}: {each['message']}" for each in fault.details["faults"]]
        more = fault.details.get("more_faults")
        return [*faults, *([f"and {more} more"] if more else [])]
    return [sentence(fault.message)] if fault else []
