"""The pages that show something: the actions, the tasks, one task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import get_args

from fastapi import Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from api.http.errors import refuse
from api.http.request_context import context_of
from api.http.root_path import public_path
from api.pages import approvals, batches, cancellation, job, job_list, nodes, openid_login
from api.pages.browser_session import caller_of, login_address
from api.pages.forms import (
    LOGIN_ACTION,
    LOGOUT_ACTION,
    RENEW_ACTION,
    action_with_form,
    has_form,
    show_form,
    submit_form,
)
from api.pages.reference_views import show_index, show_section
from api.pages.rendering import page, page_frame, passed_headers
from api.pages.table_form import show_table_form, submit_table
from api.state.services import services_of
from api.tasks.queries import awaited_task, task_details, task_page
from resop.actions.catalog import Action
from resop.errors import NotLoggedIn, ResopError, TokenRefused, UnknownAction
from resop.storage.models import State
from resop.storage.task_search import TaskFilter
from resop.types import ActionKind, KindCode

ASSETS = {"style.css": "text/css", "icon.svg": "image/svg+xml"}
ASSET_MAX_AGE = 3600
"""How long a browser may cache an asset, in seconds."""
UNLISTED = (LOGIN_ACTION, RENEW_ACTION, LOGOUT_ACTION, "auth:login_token")
"""The actions that the start page leaves out: every page has its login or logout."""


async def serve(name: str, request: Request) -> Response:
    """Return the page `name`; the login page if it needs one; an error page if it is refused."""
    try:
        return await VIEWS[name](request)
    except (NotLoggedIn, TokenRefused) as fault:
        refuse(request, fault)  # the browser gets the redirect instead of this response
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(login_address(request.scope["path"] + query), 303)
    except ResopError as fault:
        refused = refuse(request, fault)
        return await _error_page(
            request, refused.status_code, fault.message, passed_headers(refused)
        )


async def _error_page(
    request: Request, status: int, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    context = context_of(request.scope)
    return await page(
        "refused.html",
        status,
        headers,
        title=HTTPStatus(status).phrase,
        message=message,
        **page_frame(request, context if context.username else None),
    )


async def _missing(request: Request) -> Response:
    """Return the page for an address below /pages/ that does not exist."""
    await caller_of(request)
    context_of(request.scope).refused("UnknownPath")
    return await _error_page(request, 404, f"there is no page at {public_path(request.scope)}")


async def _asset(request: Request) -> Response:
    name = request.url.path.rpartition("/")[2]
    headers = {"Cache-Control": f"max-age={ASSET_MAX_AGE}"}
    return FileResponse(Path(__file__).parent / name, media_type=ASSETS[name], headers=headers)


async def _index(request: Request) -> Response:
    caller, services = await caller_of(request), services_of(request)
    token = caller.token
    listed = []
    for operator in services.catalog.operators.values():
        actions: list[Action] = [*operator.commands.values(), *operator.operations.values()]
        allowed = []
        for action in sorted(actions, key=lambda each: each.name):
            if has_form(action) and action.title not in UNLISTED:
                decision = await services.access.permissions.decide(
                    action.title, token.identity, token.credential, token.scope
                )
                allowed += [action] if decision.allowed else []
        if allowed:
            listed.append((operator, allowed))
    return await page("index.html", operators=listed, **page_frame(request, token))


async def _tasks(request: Request) -> Response:
    caller, services = await caller_of(request), services_of(request)
    query = request.query_params
    state = next((each for each in State if each == query.get("state")), None)
    operator, cursor = query.get("operator") or None, query.get("cursor") or None
    found = await run_in_threadpool(
        task_page,
        services,
        caller.token,
        TaskFilter(state=state, operator=operator),
        cursor=cursor,
    )
    return await page(
        "tasks.html",
        **found,
        states=list(State),
        state=state or "",
        operators=[each.name for each in services.catalog.operators.values()],
        operator=operator or "",
        later=cursor is not None,
        **page_frame(request, caller.token),
    )


async def _task(request: Request) -> Response:
    caller, services = await caller_of(request), services_of(request)
    found = await awaited_task(services, caller.token, request.path_params["task_id"])
    task = await task_details(services, found)
    kind = ActionKind.COMMAND if "command" in task else ActionKind.OPERATION
    try:
        action: Action | None = action_with_form(
            services.catalog, kind.code, *task["action"].split(":")
        )
    except UnknownAction:
        action = None  # its operator was removed since
    return await page("task.html", task=task, action=action, **page_frame(request, caller.token))


VIEWS: dict[str, Callable[[Request], Awaitable[Response]]] = {
    "asset": _asset,
    "missing": _missing,
    "index": _index,
    "tasks": _tasks,
    "task": _task,
    "reference_index": show_index,
    "reference": show_section,
    "approvals": approvals.show_waiting,
    "approval": approvals.show_one,
    "approval_decide": approvals.decide_one,
    "batch": batches.show_batch,
    "batch_results": batches.download_results,
    "jobs": job_list.show_jobs,
    "jobs_change": job_list.change_jobs,
    "job": job.show_job,
    "nodes": nodes.show_nodes,
    "node": nodes.show_node,
    "task_cancel": cancellation.ask_about_task,
    "task_cancel_confirmed": cancellation.cancel_task,
    "batch_cancel": cancellation.ask_about_batch,
    "batch_cancel_confirmed": cancellation.cancel_batch,
    "openid_begin": openid_login.begin,
    "openid_callback": openid_login.finish,
    **{f"{kind}_form": partial(show_form, kind) for kind in get_args(KindCode)},
    **{f"{kind}_submit": partial(submit_form, kind) for kind in get_args(KindCode)},
    **{f"{kind}_table_form": partial(show_table_form, kind) for kind in get_args(KindCode)},
    **{f"{kind}_table_submit": partial(submit_table, kind) for kind in get_args(KindCode)},
}
