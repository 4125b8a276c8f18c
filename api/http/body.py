"""Read a request's body within the limits, as options from JSON or from form fields."""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import Request
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import from_json
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from resop.actions.option_types import takes_flag, takes_list
from resop.actions.spellings import fields_by_name
from resop.errors import (
    BodyTooLarge,
    BodyTruncated,
    InvalidOptions,
    UnsupportedBody,
    UnsupportedEncoding,
)

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
MAX_BODY_BYTES = 1 << 20
MAX_BODY_DEPTH = 20
MAX_OPTIONS = 200
MAX_FORM_FIELDS = 2000
MAX_MEMBERS = 1000
"""Members of an object below the options themselves."""
MAX_VALUES = 100_000
"""Values in a JSON body, of any kind and at any depth."""
_BEFORE_VALUES = (b",", b"[", b"{")
_JSON_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
SMALL_BODY_BYTES = 32 << 10
"""A larger body is parsed in a thread: the event loop would be blocked for long."""
_BOM = b"\xef\xbb\xbf"
_UTF_16_OR_32 = (b"\xff\xfe", b"\xfe\xff")
"""How such texts begin with a byte order mark; without one, a zero byte is among the first two."""


async def read_options(request: Request, model: type[BaseModel]) -> dict[str, Any]:
    """Return the options in a request's body, not yet validated with `model`.

    Raises BodyTooLarge, UnsupportedBody, or InvalidOptions if the body is not a JSON object (or
    form fields), or is nested too deeply.
    """
    body = await read_body(request)
    if not body.strip():
        return {}
    kind = content_type(request)
    if len(body) > SMALL_BODY_BYTES:
        return await run_in_threadpool(_parse, body, kind, model)
    return _parse(body, kind, model)


def _parse(body: bytes, kind: str, model: type[BaseModel]) -> dict[str, Any]:
    if kind == FORM:
        options = _from_form(body, model)
    elif kind in ("application/json", "") or kind.endswith("+json"):
        options = _from_json(body)
    else:
        raise UnsupportedBody(
            f"the body is of type {kind[:100]!r}: send application/json or {FORM}"
        )
    return check_shape(options)


def check_shape(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options. Raises InvalidOptions if they are too many or nested too deeply."""
    if len(options) > MAX_OPTIONS:
        raise _fault(f"has {len(options)} options; the limit is {MAX_OPTIONS}")
    _check_depth(options, MAX_BODY_DEPTH)
    return options


def content_type(request: Request) -> str:
    """Return the media type of the body, without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def refuse_encoded(request: Request) -> None:
    """Raise UnsupportedEncoding if the body is not sent as it is."""
    encodings = ",".join(request.headers.getlist("content-encoding")).split(",")
    if any(each.strip().lower() not in ("", "identity") for each in encodings):
        raise UnsupportedEncoding


async def read_body(request: Request) -> bytes:
    """Return the whole body.

    Raises BodyTooLarge as soon as it exceeds MAX_BODY_BYTES, BodyTruncated if it ends early, and
    UnsupportedEncoding if it is compressed.
    """
    refuse_encoded(request)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise BodyTooLarge(
                    f"the body has more than {MAX_BODY_BYTES} bytes: send large content with "
                    "PUT /files"
                )
    except ClientDisconnect:
        raise BodyTruncated from None
    return bytes(body)


def _from_json(body: bytes) -> dict[str, Any]:
    if body.startswith(_UTF_16_OR_32) or b"\0" in body[:2]:
        raise _fault("is UTF-16 or UTF-32: send JSON as UTF-8")
    try:
        value = parse_json(body.removeprefix(_BOM))  # written by PowerShell and .NET
    except ValueError as fault:
        raise _fault(f"is not valid JSON: {fault}") from None
    if not isinstance(value, dict):
        raise _fault("must be a JSON object with the options as its members")
    return value


def parse_json(text: bytes | str) -> Any:
    """Parse JSON. Raises ValueError, or InvalidOptions for an object with too many or equal names.

    NaN and Infinity are refused.
    """
    check_number_of_values(text.encode() if isinstance(text, str) else text)
    # Of members with the same name, from_json() takes the last one and says nothing. But it says
    # best what else is wrong.
    with contextlib.suppress(ValueError, RecursionError):
        json.loads(text, object_pairs_hook=_check_members)
    return from_json(text, allow_inf_nan=False)


def check_number_of_values(text: bytes) -> None:
    """Raise InvalidOptions for too many values: each takes much more memory than its JSON."""
    signs = sum(map(text.count, _BEFORE_VALUES))
    if signs > MAX_VALUES:
        for found in _JSON_TEXT.finditer(text):
            signs -= sum(text.count(sign, *found.span()) for sign in _BEFORE_VALUES)
    if signs > MAX_VALUES:
        raise _fault(f"has more than {MAX_VALUES} values")


def _check_members(members: list[tuple[str, Any]]) -> None:
    """Raise InvalidOptions for an object that has too many members, or two with the same name."""
    if len(members) > MAX_MEMBERS:
        raise _fault(f"has an object with {len(members)} members; the limit is {MAX_MEMBERS}")
    if len(members) > 1 and len({name for name, _ in members}) < len(members):
        counts = Counter(name for name, _ in members)
        twice = next(name for name, _ in members if counts[name] > 1)
        raise InvalidOptions.of(twice[:100], "is given more than once")


def parse_form(body: bytes) -> list[tuple[str, str]]:
    """Return the fields of a form in their order. Raises InvalidOptions if it is not one."""
    pairs = body.split(b"&", MAX_FORM_FIELDS)
    if len(pairs) > MAX_FORM_FIELDS:
        raise _fault(f"is not a form: it has more than {MAX_FORM_FIELDS} fields")
    try:
        # The text of a field is never shown: it may be long, or a secret.
        return [_unquoted_pair(pair) for pair in pairs]
    except UnicodeError:
        raise _fault("is not a form: it is not UTF-8") from None


def _unquoted_pair(pair: bytes) -> tuple[str, str]:
    name, equals, text = pair.partition(b"=")
    if not equals:
        raise _fault("is not a form: a field has no '='; a flag without a value is NAME=")
    # `curl -d` does not encode characters outside ASCII.
    return _unquote(name).decode(), _unquote(text).decode()


def _unquote(text: bytes) -> bytes:
    """Decode a text of a form, in slices: unquote_to_bytes() takes 50 bytes for each escape."""
    text, decoded, at = text.replace(b"+", b" "), bytearray(), 0
    while at < len(text):
        end = at + SMALL_BODY_BYTES
        if (escape := text.rfind(b"%", end - 2, end)) > at:
            end = escape  # an escape belongs to one slice
        decoded += unquote_to_bytes(text[at:end])
        at = end
    return bytes(decoded)


def _from_form(body: bytes, model: type[BaseModel]) -> dict[str, Any]:
    fields = fields_by_name(model)
    options: dict[str, Any] = {}
    for name, text in parse_form(body):
        field = fields.get(name)
        if text == "" and field is not None and _may_be_left_empty(field):
            continue
        if name in options or (field and takes_list(field.annotation)):
            earlier = options.get(name, [])
            options[name] = [*(earlier if isinstance(earlier, list) else [earlier]), text]
        else:
            options[name] = text
    return options


def _may_be_left_empty(field: FieldInfo) -> bool:
    """Return True for a field that means nothing if a person left it empty; a flag is then set."""
    return not field.is_required() and not takes_flag(field.annotation)


def _check_depth(value: dict[str, Any] | list[Any], depth: int) -> None:
    if value and depth == 0:
        raise _fault(f"is nested more than {MAX_BODY_DEPTH} levels deep")
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, dict | list):
            _check_depth(item, depth - 1)


def _fault(message: str) -> InvalidOptions:
    return InvalidOptions.of("body", message)
