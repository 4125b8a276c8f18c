"""The form of an action: show it, and run what a person submits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from api.auth.login import run_login_operation
from api.http.body import check_shape
from api.http.errors import refuse
from api.http.request_context import Caller, context_of
from api.pages.browser_session import (
    CSRF_FIELD,
    LOGIN,
    caller_of,
    check_csrf_token,
    cookie_of,
    new_cookie,
    next_url,
    set_session_cookie,
)
from api.pages.form_data import form_key, form_preferences, read_form, run_once_key
from api.pages.form_fields import FormData, FormField, fields_of, form_for, options_in
from api.pages.openid_login import offers_openid
from api.pages.rendering import page, page_frame, passed_headers, sentence
from api.state.services import Services, services_of
from api.tasks.off_loop import off_loop
from api.tasks.queries import own_task
from api.tasks.run_action import dry_run_action, permit, run_action
from api.tasks.secret_answers import reveal
from resop.actions.call import ActionCall
from resop.actions.catalog import Action, Catalog
from resop.actions.command import Command
from resop.actions.operation import Operation
from resop.errors import (
    InvalidOptions,
    NotLoggedIn,
    OtpRequired,
    ResopError,
    TokenRefused,
    UnknownAction,
)
from resop.security.tokens import Token
from resop.types import KindCode

LOGIN_ACTION, RENEW_ACTION, LOGOUT_ACTION = "auth:login", "auth:renew", "auth:logout"
LOGIN_FIELDS: Mapping[str, dict[str, Any]] = {
    "username": {
        "label": "User name",
        "description": "",
        "limits": {"autocomplete": "username", "autocapitalize": "none", "autofocus": ""},
    },
    "password": {
        "label": "Password",
        "description": "",
        "limits": {"autocomplete": "current-password"},
    },
    "otp": {
        "label": "One-time code",
        "description": "only if your cluster asks for one",
        "box": "text",  # easier to check while typing; it is never written into a page
        "limits": {"autocomplete": "one-time-code", "inputmode": "numeric"},
    },
}
"""How the fields of the login form differ from those of other forms."""
SHORT_TASK_SECONDS = 1.0
"""A task that ends sooner is shown with its result; other tasks are shown while they run."""


@dataclass(frozen=True, slots=True)
class _Form:
    """The form of one request."""

    request: Request
    services: Services
    action: Action
    caller: Caller | None
    """None for the login form."""
    fields: list[FormField]

    async def respond(
        self, form: FormData, *, fault: ResopError | None = None, answer: Any = None
    ) -> Response:
        """Return the page with the form as it was filled in, and a fault or an answer."""
        refused = refuse(self.request, fault) if fault else Response()
        own, others = _faults_by_field(fault, self.fields)
        cookie = cookie_of(self.request) or new_cookie()
        response = await page(
            "login.html" if self.action.title == LOGIN_ACTION else "form.html",
            refused.status_code,
            passed_headers(refused),
            action=self.action,
            fields=self.fields,
            groups=_groups(self.fields),
            queued=not self.action.in_api,
            # A secret has to be typed again, rather than being written into a page.
            texts={
                each.name: [] if each.secret else form.getlist(each.name) for each in self.fields
            },
            form=form,
            key=form_key(form),
            faults=own,
            other_faults=others,
            answer=answer,
            task_timeout=self.services.settings.TASK_TIMEOUT,
            query=self.request.query_params,
            clusters=list(self.services.settings.clusters()),
            openid=offers_openid(self.services),
            next=quote(next_url(self.request), safe=""),
            **page_frame(self.request, self.token, cookie),
        )
        if cookie != cookie_of(self.request):
            set_session_cookie(self.request, response, cookie)
        return response

    @property
    def token(self) -> Token | None:
        return self.caller.token if self.caller else None


async def show_form(kind: KindCode, request: Request) -> Response:
    """Show an action's form: empty, with an example, or with the options of an earlier task.

    A link can have options as well: `?task=…`.
    """
    form = await _form_of(kind, request)
    options: Mapping[str, Any] = {}
    if form.token and (again := request.query_params.get("again")):
        options = (await own_task(form.services, form.token, again)).options
    elif number := request.query_params.get("example"):
        examples = {str(place): each for place, each in enumerate(form.action.examples, 1)}
        options = examples.get(number, {})
    else:
        query = form.request.query_params
        texts = [field for field in form.fields if field.box == "text" and field.name in query]
        options = {field.name: query[field.name] for field in texts}
    return await form.respond(form_for(form.fields, options))


async def submit_form(kind: KindCode, request: Request) -> Response:
    """Run what was submitted: show its task, or the form again with what is wrong."""
    form = await _form_of(kind, request)
    sent = await read_form(request)
    try:
        check_csrf_token(request, sent.get(CSRF_FIELD, ""))
        options = check_shape(options_in(form.fields, sent))
        if form.action.in_api:
            return await _run_login(form, sent, options)
        return await _run(form, sent, options)
    except (NotLoggedIn, TokenRefused):
        raise
    except ResopError as fault:
        return await form.respond(sent, fault=fault)


async def _run(form: _Form, sent: FormData, options: dict[str, Any]) -> Response:
    assert form.caller is not None
    services = form.services
    shows_secret = isinstance(form.action, Operation) and form.action.returns_secret
    wait = services.settings.SYNC_WAIT
    if not shows_secret and not sent.get(":dry_run"):
        wait = min(wait, SHORT_TASK_SECONDS)
    # Answers are shared where nothing is changed: running that twice does no harm.
    key = None if form.action.share_for else await run_once_key(sent, options)
    preferences = form_preferences(sent, wait, services.webhook_hosts, key)
    arguments = (services, form.caller, form.action, options, preferences)
    if preferences.dry_run:
        dry_run = await dry_run_action(*arguments)
        if dry_run.task is None:
            return await form.respond(sent, answer=dry_run.shown)
        return RedirectResponse(f"/pages/tasks/{dry_run.task.id}", 303)
    done = await run_action(*arguments)
    if shows_secret:
        task = await reveal(services, form.caller.token, done.task)
        if task is not done.task:  # its own page shows no secret
            return await form.respond(sent, answer={"output": task.output})
    return RedirectResponse(f"/pages/tasks/{done.task.id}", 303)


async def _run_login(form: _Form, sent: FormData, options: dict[str, Any]) -> Response:
    """Run a login or a logout: these are not queued."""
    request, context = form.request, context_of(form.request.scope)
    context.action = form.action.title
    call = await off_loop(partial(ActionCall.check, form.action, options), options)

    async def authenticate() -> Token:
        return (await caller_of(request)).token

    cookie = cookie_of(request) or None
    output = await run_login_operation(form.services, context, call, authenticate, cookie)
    if form.action.title in (LOGIN_ACTION, RENEW_ACTION):
        response = RedirectResponse(next_url(request), 303)
        token = form.services.access.encryptor.read_token(output["token"])
        set_session_cookie(request, response, output["token"], token.expires)
        return response
    if form.action.title == LOGOUT_ACTION:
        left = "all" if output["key_removed"] else "key"
        if output.get("tasks_continue"):
            left = "tasks"
        response = RedirectResponse(f"{LOGIN}?left={left}", 303)
        set_session_cookie(request, response, new_cookie())
        return response
    return await form.respond(sent, answer={"output": output})


async def _form_of(kind: KindCode, request: Request) -> _Form:
    """Return the form at the request's address. Raises Forbidden if the policy forbids it."""
    services = services_of(request)
    new_form = partial(_Form, request, services)
    operator, name = request.path_params["operator"], request.path_params["action"]
    login = services.catalog.api_operation(operator, kind, name)
    if login and login.title == LOGIN_ACTION:
        return new_form(login, None, _login_fields(services, login))
    caller = await caller_of(request)
    action = action_with_form(services.catalog, kind, operator, name)
    if not action.in_api:
        await permit(services, caller, action.title, with_approval=True)
    return new_form(action, caller, fields_of(action))


def action_with_form(catalog: Catalog, kind: KindCode, operator: str, name: str) -> Action:
    """Return the action of that name. Raises UnknownAction if it has no form."""
    action = catalog.action(operator, kind, name)
    if not has_form(action):
        raise UnknownAction(f"{action.title} has no page: its entry sets 'form: false'")
    return action


def has_form(action: Action) -> bool:
    """Return True unless the action's entry switches its form off."""
    return not (isinstance(action, Command) and action.entry.form is False)


def _login_fields(services: Services, action: Action) -> list[FormField]:
    """Return the fields of the login form: a cluster has to be chosen if there are several."""
    clusters = list(services.settings.clusters())
    choice = {"label": "Cluster", "box": "choice", "choices": clusters, "default": clusters[0]}
    changes: dict[str, dict[str, Any]] = {**LOGIN_FIELDS, "cluster": choice}
    return [
        replace(
            field,
            **{
                **changes.get(field.name, {}),
                "limits": {**field.limits, **changes.get(field.name, {}).get("limits", {})},
            },
        )
        for field in fields_of(action)
        if field.name != "cluster" or len(clusters) > 1
    ]


def _faults_by_field(
    fault: ResopError | None, fields: list[FormField]
) -> tuple[dict[str, list[str]], list[str]]:
    """Return the messages for each field, and the messages that belong to no field."""
    own: dict[str, list[str]] = {}
    if fault is None:
        return own, []
    if isinstance(fault, OtpRequired):
        return {"otp": [_code_sentence(fault)]}, []
    if not isinstance(fault, InvalidOptions):
        return own, [sentence(fault.message)]
    names, others = {field.name for field in fields}, []
    for each in fault.details["faults"]:
        name, message = each["field"], each["message"]
        # 'names.0' is a part of 'names'.
        owner = name if name in names else name.partition(".")[0]
        if owner in names:
            own.setdefault(owner, []).append(message)
        else:
            others.append(f"{name}: {message}")
    return own, others


def _code_sentence(fault: OtpRequired) -> str:
    """Return what to enter as the one-time code, with the cluster's own words."""
    prompt = fault.details.get("prompt")
    if prompt is None and fault.message != OtpRequired().message:
        return sentence(fault.message)
    said = f' The cluster says: "{prompt}"' if prompt else ""
    return f"This cluster requires a one-time code. Enter it here.{said}"


def _groups(fields: list[FormField]) -> list[tuple[str, list[FormField]]]:
    """Return the fields under the headings of the form."""
    flags = [field for field in fields if field.box == "check"]
    others = [field for field in fields if field.box != "check"]
    groups = [
        ("Required", [field for field in others if field.required]),
        ("Options", [field for field in others if not field.required]),
        ("Flags", flags),
    ]
    return [(legend, group) for legend, group in groups if group]
