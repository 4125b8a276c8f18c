"""What a browser sends: the fields of a form, and the request to the API that it stands for."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.types import Message

from api.http.body import FORM, MAX_BYTES, content_type, parse_form, read_body
from api.pages.browser_session import cookie_of
from api.pages.form_fields import FormData
from resop.errors import InvalidOptions, UnsupportedBody

MULTIPART = "multipart/form-data"


async def read_form(request: Request) -> FormData:
    """The fields of the form that was sent; a file stands in place of the text of its name.

    Raises BodyTooLarge, UnsupportedBody, or InvalidOptions for what is no form.
    """
    body, kind = await read_body(request), content_type(request)
    if kind == MULTIPART:
        return FormData(await _parts(request.headers, body))
    if body and kind != FORM:
        raise UnsupportedBody(f"the body is of type {kind!r}: send {FORM} or {MULTIPART}")
    return FormData([(name, _lines(text)) for name, text in parse_form(body)] if body else [])


def api_request(request: Request, options: Mapping[str, Any], sent: FormData) -> Request:
    """The request that asks the API for what the form asks, in the name of this browser."""
    headers = {"authorization": f"Bearer {cookie_of(request)}", "content-type": "application/json"}
    if sent.get(":async"):
        headers["prefer"] = "respond-async"
    query = [("tag", tag) for tag in sent.get(":tags", "").split()]
    query += [("timeout", text) for text in [sent.get(":timeout", "")] if text]
    query += [("dry_run", "true")] if sent.get(":dry_run") else []
    body = json.dumps(options).encode()

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    asked = {"headers": Headers(headers).raw, "query_string": urlencode(query).encode()}
    return Request({**request.scope, **asked}, receive)


async def _parts(headers: Headers, body: bytes) -> list[tuple[str, str]]:
    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(headers, whole(), max_part_size=MAX_BYTES).parse()
    except MultiPartException as fault:
        raise _fault("body", f"is not a list of form fields: {fault.message}") from None
    try:
        files = {
            name: _decoded(name, await part.read())
            for name, part in form.multi_items()
            if isinstance(part, UploadFile) and part.filename  # none where none was chosen
        }
    finally:
        await form.close()
    texts = [(name, text) for name, text in form.multi_items() if isinstance(text, str)]
    typed = [(name, _lines(text)) for name, text in texts if name not in files]
    return [*typed, *files.items()]


def _decoded(field: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise _fault(field, "the file is not text in UTF-8") from None


def _lines(text: str) -> str:
    """A text box ends its lines with CR LF, whatever was typed or pasted (HTML, 4.10.21.4)."""
    return text.replace("\r\n", "\n")


def _fault(field: str, message: str) -> InvalidOptions:
    return InvalidOptions([{"field": field, "message": message}])
