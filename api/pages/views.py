"""What each page does: look, or send on what a form holds and show the answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, get_args

from fastapi import Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from api.http.errors import refuse
from api.pages.browser_session import (
    CSRF_FIELD,
    LOGIN,
    check_csrf_token,
    cookie_of,
    csrf_token,
    login_address,
    new_cookie,
    next_url,
    set_session_cookie,
    user_of,
)
from api.pages.form_data import api_request, read_form
from api.pages.form_fields import FormData, FormField, fields_of, options_in, sent_for
from api.pages.rendering import page
from api.routes import actions, task_list
from api.routes import tasks as api_tasks
from api.state.services import services_of
from resop.actions.catalog import Action, Catalog, Kind
from resop.actions.command import Command
from resop.actions.operation import Operation
from resop.config.policy import Decision
from resop.errors import (
    InvalidOptions,
    NotLoggedIn,
    OtpRequired,
    ResopError,
    TokenRefused,
    UnknownAction,
)
from resop.security.tokens import Token
from resop.storage.models import State
from resop.storage.task_search import TaskFilter

HERE = Path(__file__).parent
ASSETS = {"style.css": "text/css", "icon.svg": "image/svg+xml"}
ASSET_SECONDS = 3600
SAID_BY_ERRORS = ("WWW-Authenticate", "Retry-After")
LOGIN_BOXES = {
    "username": {"autocomplete": "username", "autocapitalize": "none", "autofocus": ""},
    "password": {"autocomplete": "current-password"},
    "otp": {"autocomplete": "one-time-code", "inputmode": "numeric"},
}
LOGIN_ACTION, LOGOUT_ACTION = "auth:login", "auth:logout"
OWN_PLACE = (LOGIN_ACTION, LOGOUT_ACTION, "auth:login_token")


async def serve(name: str, request: Request) -> Response:
    """The page of that name; a login first where it takes one, and a page for what is refused."""
    try:
        return await VIEWS[name](request)
    except (NotLoggedIn, TokenRefused) as fault:
        refuse(request, fault)  # by a page in place of that answer
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(login_address(request.url.path + query), 303)
    except ResopError as fault:
        told = refuse(request, fault)
        title = HTTPStatus(told.status_code).phrase
        return await page(
            "refused.html", told.status_code, _headers(told), title=title, error=fault, user=None
        )


async def _asset(request: Request) -> Response:
    name = request.url.path.rpartition("/")[2]
    headers = {"Cache-Control": f"max-age={ASSET_SECONDS}"}
    return FileResponse(HERE / name, media_type=ASSETS[name], headers=headers)


async def _index(request: Request) -> Response:
    token = await user_of(request)
    shown = []
    for operator in services_of(request).catalog.operators.values():
        owned: list[Action] = [*operator.commands.values(), *operator.operations.values()]
        # A login and a logout stand on every page.
        offered = [each for each in owned if _has_form(each) and each.title not in OWN_PLACE]
        listed = [each for each in offered if (await _decision(request, token, each)).allowed]
        if found := sorted(listed, key=lambda action: action.name):
            shown.append((operator, found))
    return await page("index.html", operators=shown, **_frame(request, token))


async def _tasks(request: Request) -> Response:
    token, services = await user_of(request), services_of(request)
    asked = request.query_params
    state = next((each for each in State if each == asked.get("state")), None)
    operator, cursor = asked.get("operator") or None, asked.get("cursor") or None
    found = await run_in_threadpool(
        task_list.list_tasks,
        services,
        token,
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
        **_frame(request, token),
    )


async def _task(request: Request) -> Response:
    token, services = await user_of(request), services_of(request)
    task = await api_tasks.show_task(request.path_params["task_id"], services, token)
    kind: Kind = "cmd" if "command" in task else "opn"
    try:
        action: Action | None = _action(services.catalog, kind, *task["action"].split(":"))
    except UnknownAction:
        action = None  # an operator that has been taken away since
    return await page("task.html", task=task, action=action, **_frame(request, token))


async def _form(kind: Kind, request: Request) -> Response:
    token, action = await _asked(kind, request)
    options: Mapping[str, Any] = {}
    if token and (again := request.query_params.get("again")):
        options = (await api_tasks.show_task(again, services_of(request), token))["options"]
    elif example := request.query_params.get("example"):
        numbered = {str(number): each for number, each in enumerate(action.examples, 1)}
        options = numbered.get(example, {})
    return await _show_form(request, token, action, sent_for(_fields(request, action), options))


async def _submit(kind: Kind, request: Request) -> Response:
    token, action = await _asked(kind, request)
    sent = await read_form(request)
    try:
        check_csrf_token(request, sent.get(CSRF_FIELD, ""))
        asked = api_request(request, options_in(_fields(request, action), sent), sent)
        answer = json.loads(bytes((await actions.run(kind, asked)).body))
    except (NotLoggedIn, TokenRefused):
        raise
    except ResopError as fault:
        return await _show_form(request, token, action, sent, fault)
    if action.title == LOGIN_ACTION:
        return _logged_in(request, answer["output"]["token"])
    if action.title == LOGOUT_ACTION:
        return _logged_out(request, answer["output"]["key_removed"])
    if task := answer.get("task"):
        return RedirectResponse(f"/pages/tasks/{task}", 303)
    return await _show_form(request, token, action, sent, answer=answer)


def _logged_in(request: Request, token: str) -> Response:
    response = RedirectResponse(next_url(request), 303)
    set_session_cookie(
        request, response, token, services_of(request).encryptor.read_token(token).expires
    )
    return response


def _logged_out(request: Request, key_removed: bool) -> Response:
    response = RedirectResponse(f"{LOGIN}?left={'all' if key_removed else 'key'}", 303)
    set_session_cookie(request, response, new_cookie())
    return response


async def _show_form(
    request: Request,
    token: Token | None,
    action: Action,
    sent: FormData,
    fault: ResopError | None = None,
    answer: Any = None,
) -> Response:
    """The form, with what was sent and what is wrong with it, or what it answered."""
    told = refuse(request, fault) if fault else Response()
    fields = _fields(request, action)
    own, others = _by_field(fault, fields)
    cookie = cookie_of(request) or new_cookie()
    response = await page(
        "login.html" if action.title == LOGIN_ACTION else "form.html",
        told.status_code,
        _headers(told),
        action=action,
        fields=fields,
        groups=_groups(fields),
        queued=not (isinstance(action, Operation) and action.in_api),
        # A secret is asked for again, rather than written into a page.
        texts={each.name: [] if each.secret else sent.getlist(each.name) for each in fields},
        sent=sent,
        faults=own,
        other_faults=others,
        answer=answer,
        task_timeout=services_of(request).settings.TASK_TIMEOUT,
        query=request.query_params,
        **_frame(request, token, cookie),
    )
    if cookie != cookie_of(request):
        set_session_cookie(request, response, cookie)
    return response


def _by_field(
    fault: ResopError | None, fields: list[FormField]
) -> tuple[dict[str, list[str]], list[str]]:
    """What is wrong with each field, and what else is wrong."""
    own: dict[str, list[str]] = {}
    if fault is None:
        return own, []
    names, others = {field.name for field in fields}, []
    if isinstance(fault, OtpRequired):
        return {"otp": [fault.message]}, []
    if not isinstance(fault, InvalidOptions):
        return own, [fault.message]
    for each in fault.details["faults"]:
        name, message = each["field"], each["message"]
        # 'names.0' is a part of 'names'.
        owner = name if name in names else name.partition(".")[0]
        if owner in names:
            own.setdefault(owner, []).append(message)
        else:
            others.append(f"{name}: {message}")
    return own, others


def _groups(fields: list[FormField]) -> list[tuple[str, list[FormField]]]:
    """The fields under the headings of a form."""
    flags = [field for field in fields if field.box == "check"]
    others = [field for field in fields if field.box != "check"]
    groups = [
        ("Required", [field for field in others if field.required]),
        ("Options", [field for field in others if not field.required]),
        ("Flags", flags),
    ]
    return [(legend, group) for legend, group in groups if group]


async def _asked(kind: Kind, request: Request) -> tuple[Token | None, Action]:
    """The action of a form's address, and who asks: nobody yet where it is the login."""
    catalog = services_of(request).catalog
    operator, name = request.path_params["operator"], request.path_params["action"]
    here = catalog.api_operation(operator, kind, name)
    if here and here.title == LOGIN_ACTION:
        return None, here
    token, found = await user_of(request), _action(catalog, kind, operator, name)
    if not (isinstance(found, Operation) and found.in_api):
        (await _decision(request, token, found)).enforce()
    return token, found


async def _decision(request: Request, token: Token, action: Action) -> Decision:
    permissions = services_of(request).permissions
    return await permissions.decide(action.title, token.username, token.credential)


def _action(catalog: Catalog, kind: Kind, operator: str, name: str) -> Action:
    action = catalog.action(operator, kind, name)
    if not _has_form(action):
        raise UnknownAction(f"{action.title} has no form: its entry says 'form: false'")
    return action


def _has_form(action: Action) -> bool:
    return not (isinstance(action, Command) and action.entry.form is False)


def _fields(request: Request, action: Action) -> list[FormField]:
    fields = fields_of(action)
    if action.title != LOGIN_ACTION:
        return fields
    clusters = list(services_of(request).settings.clusters())
    return [
        replace(field, box="choice", choices=clusters, default=clusters[0])
        if field.name == "cluster"
        else replace(field, limits={**field.limits, **LOGIN_BOXES.get(field.name, {})})
        for field in fields
        if field.name != "cluster" or len(clusters) > 1
    ]


def _address(action: Action) -> str:
    kind = "cmd" if isinstance(action, Command) else "opn"
    return f"/{action.operator}/{kind}/{action.name}"


def _frame(request: Request, token: Token | None, cookie: str | None = None) -> dict[str, Any]:
    """What every page shows around its own."""
    return {"user": token, "guard": csrf_token(cookie or cookie_of(request)), "address": _address}


def _headers(told: Response) -> dict[str, str]:
    return {name: told.headers[name] for name in SAID_BY_ERRORS if name in told.headers}


VIEWS: dict[str, Callable[[Request], Awaitable[Response]]] = {
    "asset": _asset,
    "index": _index,
    "tasks": _tasks,
    "task": _task,
    **{f"{kind}_form": partial(_form, kind) for kind in get_args(Kind)},
    **{f"{kind}_submit": partial(_submit, kind) for kind in get_args(Kind)},
}
