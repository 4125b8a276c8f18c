"""Makes the HTML: templates that escape whatever they show, under headers that run nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from fastapi import Response
from starlette.concurrency import run_in_threadpool

from resop import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
}
MOST_COLUMNS = 40


async def page(
    template: str, status: int = 200, headers: Mapping[str, str] | None = None, **shown: Any
) -> Response:
    """The page that a template makes of what is shown. In a thread: an output may be long."""
    html = await run_in_threadpool(_render, template, shown)
    return Response(html, status, {**(headers or {}), **HEADERS}, "text/html; charset=utf-8")


def _render(template: str, shown: Mapping[str, Any]) -> bytes:
    # Half a character, which a request can name, is no reason to fail.
    return _environment().get_template(template).render(shown).encode("utf-8", "replace")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("api.pages", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(version=__version__, columns=_columns, is_short=_is_short)
    made.filters.update(pretty=_pretty, brief=_brief, moment=_moment)
    return made


def _columns(rows: Any) -> list[str]:
    """The columns of a list of objects as a table, in their order; none if it is no such list."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row for row in rows):
        return []
    names = list(dict.fromkeys(name for row in rows for name in row))
    return names if len(names) <= MOST_COLUMNS else []


def _is_short(values: list[Any]) -> bool:
    """Whether values can stand in one line of a table."""
    return all(
        isinstance(each, int | float) or (isinstance(each, str) and len(each) < 40)
        for each in values
    )


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _brief(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _moment(iso: str) -> str:
    """A time as people read it, UTC."""
    return datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M:%S")
