"""Read what a browser sends: the fields of a form, and the preferences among them."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from typing import Any, NamedTuple

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, UploadFile

from api.http.body import (
    FORM,
    MAX_BODY_BYTES,
    MULTIPART,
    SMALL_BODY_BYTES,
    content_type,
    parse_form,
    read_body,
)
from api.http.preferences import Preferences, check_preferences
from api.http.starlette_internals import parse_multipart
from api.http.table_body import CSV_TYPES, JSON_LINES_TYPES, TABLE_TYPES
from api.pages.browser_session import CSRF_FIELD, check_csrf_token
from api.pages.form_fields import FormData
from api.tasks.off_loop import off_loop
from resop.config.webhook_hosts import WebhookHosts
from resop.errors import InvalidOptions, UnsupportedBody

TABLE_FIELD = ":table"
"""The field with the file of a table."""
KEY_FIELD = ":key"
"""The field with the random key of a form, by which a second press runs nothing again."""
_KEY = re.compile(r"[A-Za-z0-9_-]{1,40}")
JSON_LINES_ENDINGS = (".jsonl", ".ndjson")


class TableForm(NamedTuple):
    """A submitted form with a table: its other fields, and the file."""

    fields: FormData
    content: bytes
    kind: str
    """The media type of the table."""


async def read_form(request: Request) -> FormData:
    """Return the fields of a submitted form; an uploaded file replaces the text of its field.

    Raises BodyTooLarge, UnsupportedBody, or InvalidOptions if the body is not a form.
    """
    body, kind = await read_body(request), content_type(request)
    if kind == MULTIPART:
        return FormData(await _multipart_fields(request.headers, body))
    if body and kind != FORM:
        raise UnsupportedBody(f"the body is of type {kind!r}: send {FORM} or {MULTIPART}")
    if len(body) > SMALL_BODY_BYTES:
        return await run_in_threadpool(_fields, body)
    return _fields(body)


async def read_own_form(request: Request) -> FormData:
    """Return the fields of a form that this service has given to this browser.

    Raises CsrfFailed for any other form, and what `read_form` raises.
    """
    sent = await read_form(request)
    check_csrf_token(request, sent.get(CSRF_FIELD, ""))
    return sent


def _fields(body: bytes) -> FormData:
    pairs = parse_form(body) if body else []
    return FormData([(name, _unix_lines(text)) for name, text in pairs])


def form_preferences(
    form: FormData, wait: float, hosts: WebhookHosts, idempotency_key: str | None = None
) -> Preferences:
    """Return the preferences of a form's section "How to run it". Raises InvalidOptions.

    `wait` and `hosts` are as for `read_preferences`; `idempotency_key` is that of `run_once_key`.
    """
    values: dict[str, Any] = {
        "tag": form.get(":tags", "").split(),
        "dry_run": bool(form.get(":dry_run")),
        "wait": wait,
        "idempotency_key": idempotency_key,
    }
    if timeout := form.get(":timeout"):
        values["timeout"] = timeout
    return check_preferences(values, hosts)


def form_key(form: FormData) -> str:
    """Return the random key of a form: the one that it was sent with, or a new one."""
    key = form.get(KEY_FIELD, "")
    return key if _KEY.fullmatch(key) else secrets.token_urlsafe(16)


async def run_once_key(form: FormData, content: Any) -> str:
    """Return the idempotency key of a form that asks for `content`.

    The same form runs once, however often it is sent. One that was changed meanwhile, as after the
    browser's back button, is another request.
    """

    def digest() -> str:
        asked = [content, form.get(":tags", ""), form.get(":timeout", "")]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    return f"form {form_key(form)} {await off_loop(digest, content)}"


async def read_table_form(request: Request) -> TableForm:
    """Return a submitted form with a table; without a chosen file, the table is empty.

    Raises BodyTooLarge, UnsupportedBody, or InvalidOptions if the body is not such a form.
    """
    body, kind = await read_body(request), content_type(request)
    if kind != MULTIPART:
        raise UnsupportedBody(f"the body is of type {kind!r}: send {MULTIPART}")
    form = await parse_multipart(request.headers, body, MAX_BODY_BYTES)
    try:
        parts = form.multi_items()
        fields = FormData([(name, text) for name, text in parts if isinstance(text, str)])
        file = form.get(TABLE_FIELD)
        if not isinstance(file, UploadFile):
            return TableForm(fields, b"", CSV_TYPES[0])
        return TableForm(fields, await file.read(), _table_type(file))
    finally:
        await form.close()


def _table_type(file: UploadFile) -> str:
    """Return the media type of a table; browsers know that of few files."""
    if (file.filename or "").lower().endswith(JSON_LINES_ENDINGS):
        return JSON_LINES_TYPES[0]
    said = (file.content_type or "").partition(";")[0].strip().lower()
    return said if said in TABLE_TYPES else CSV_TYPES[0]


async def _multipart_fields(headers: Headers, body: bytes) -> list[tuple[str, str]]:
    form = await parse_multipart(headers, body, MAX_BODY_BYTES)
    try:
        files = {
            name: _decode(name, await part.read())
            for name, part in form.multi_items()
            if isinstance(part, UploadFile) and part.filename  # empty if no file was chosen
        }
    finally:
        await form.close()
    texts = [(name, text) for name, text in form.multi_items() if isinstance(text, str)]
    typed = [(name, _unix_lines(text)) for name, text in texts if name not in files]
    return [*typed, *files.items()]


def _decode(field: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        message = "the file is not UTF-8 text"
        raise InvalidOptions.of(field, message) from None


def _unix_lines(text: str) -> str:
    """Return text with LF line ends: a text area always sends CR LF (HTML, 4.10.21.4)."""
    return text.replace("\r\n", "\n")
