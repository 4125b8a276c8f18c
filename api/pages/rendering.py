"""Render the pages: templates that escape every value, with headers that forbid scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from api.http.request_context import RequestContext
from api.http.root_path import root_path_of
from api.pages.browser_session import cookie_of, csrf_token
from api.pages.cluster_answers import has_slurm
from api.pages.values import duration, page_id, size, state_class
from api.state.services import services_of
from resop import __version__
from resop.limits import OUTPUT_LIMIT
from resop.security.tokens import Token

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
}
MAX_COLUMNS = 40
"""Rows with more fields are not shown as a table."""
ERROR_HEADERS = ("WWW-Authenticate", "Retry-After")


async def page(
    template: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> Response:
    """Return a page rendered from a template, in a thread: an output may be long."""
    html = await run_in_threadpool(_render, template, values)
    return Response(html, status, {**(headers or {}), **PAGE_HEADERS}, "text/html; charset=utf-8")


def page_frame(
    request: Request, user: Token | RequestContext | None, cookie: str | None = None
) -> dict[str, Any]:
    """Return the values that every page needs: `user`, if one is logged in, CSRF token, `root`.

    `approvals` is true if the policy requires approval of anything, `has_jobs` if there is a
    Slurm to ask. `cookie` is one that the response is about to set.
    """
    return {
        "user": user,
        "csrf_token": csrf_token(cookie or cookie_of(request)),
        "root": root_path_of(request.scope),
        "approvals": user is not None
        and services_of(request).access.permissions.policy.has_approvals,
        "has_jobs": user is not None and has_slurm(services_of(request).catalog),
    }


def passed_headers(refused: Response) -> dict[str, str]:
    """Return the headers of a refused request that its page carries as well."""
    return {name: refused.headers[name] for name in ERROR_HEADERS if name in refused.headers}


def _render(template: str, values: Mapping[str, Any]) -> bytes:
    # A request may contain half a surrogate pair, which UTF-8 cannot encode.
    return _environment().get_template(template).render(values).encode("utf-8", "replace")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("api.pages", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        version=__version__,
        columns=_columns,
        is_short=_is_short,
        output_limit=f"{OUTPUT_LIMIT >> 20} MiB",
    )
    environment.filters.update(pretty=_pretty, brief=_brief, moment=_moment, sentence=sentence)
    environment.filters.update(
        duration=duration, size=size, state_class=state_class, page_id=page_id
    )
    return environment


def _columns(rows: Any) -> list[str]:
    """Return the column names for a list of objects, in order; empty if it is not one."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row for row in rows):
        return []
    names = list(dict.fromkeys(name for row in rows for name in row))
    return names if len(names) <= MAX_COLUMNS else []


def _is_short(values: list[Any]) -> bool:
    """Return True if all values are short enough for one line of a table."""
    return all(
        isinstance(each, int | float) or (isinstance(each, str) and len(each) < 40)
        for each in values
    )


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _brief(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _moment(iso: str) -> str:
    """Return an ISO time in UTC as people read it."""
    return datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M:%S")


def sentence(message: str) -> str:
    """Return a message with a capital letter, unless it begins with a name such as a file's."""
    first = message.partition(" ")[0]
    return message[:1].upper() + message[1:] if first.isalpha() else message
