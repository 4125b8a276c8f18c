"""Read a request's body within the limits, as options from JSON or from form fields."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel
from pydantic_core import from_json
from typing_extensions import TypeAliasType

from resop.errors import BodyTooLarge, InvalidOptions, UnsupportedBody

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
MAX_BODY_BYTES = 1 << 20
MAX_BODY_DEPTH = 20
MAX_OPTIONS = 200


async def read_options(request: Request, model: type[BaseModel]) -> dict[str, Any]:
    """Return the options in a request's body, not yet validated with `model`.

    Raises BodyTooLarge, UnsupportedBody, or InvalidOptions if the body is not a JSON object (or
    form fields), or is nested too deeply.
    """
    body = await read_body(request)
    if not body.strip():
        return {}
    kind = content_type(request)
    if kind == FORM:
        options = _from_form(body, model)
    elif kind in ("application/json", "") or kind.endswith("+json"):
        options = _from_json(body)
    else:
        raise UnsupportedBody(f"the body is of type {kind!r}: send application/json or {FORM}")
    return check_shape(options)


def check_shape(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options. Raises InvalidOptions if they are too many or nested too deeply."""
    if len(options) > MAX_OPTIONS:
        raise _fault(f"has {len(options)} options; the limit is {MAX_OPTIONS}")
    if _deeper_than(options, MAX_BODY_DEPTH):
        raise _fault(f"is nested more than {MAX_BODY_DEPTH} levels deep")
    return options


def content_type(request: Request) -> str:
    """Return the media type of the body, without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request) -> bytes:
    """Return the whole body. Raises BodyTooLarge as soon as it exceeds MAX_BODY_BYTES."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise BodyTooLarge(
                f"the body has more than {MAX_BODY_BYTES} bytes: send large content with PUT /files"
            )
        chunks.append(chunk)
    return b"".join(chunks)


def _from_json(body: bytes) -> dict[str, Any]:
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as fault:
        raise _fault(f"is not valid JSON: {fault}") from None
    if not isinstance(value, dict):
        raise _fault("must be a JSON object with the options as its members")
    return value


def parse_form(body: bytes) -> list[tuple[str, str]]:
    """Return the fields of a form in their order. Raises InvalidOptions if it is not one."""
    try:
        return parse_qsl(
            body.decode(),  # `curl -d` does not encode characters outside ASCII
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_OPTIONS * 10,
        )
    except ValueError as fault:
        # The text of the field is left out: it may be long, or a secret.
        detail = str(fault).partition(":")[0]
        reason = "it is not UTF-8" if isinstance(fault, UnicodeError) else detail
        raise _fault(f"is not a form: {reason}") from None


def _from_form(body: bytes, model: type[BaseModel]) -> dict[str, Any]:
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    options: dict[str, Any] = {}
    for name, text in parse_form(body):
        field = fields.get(name)
        if text == "" and field is not None and not field.is_required():
            continue  # a field that a person left empty
        if name in options or (field and _is_list(field.annotation)):
            earlier = options.get(name, [])
            options[name] = [*(earlier if isinstance(earlier, list) else [earlier]), text]
        else:
            options[name] = text
    return options


def _is_list(annotation: Any) -> bool:
    """Return True if a field takes only lists (`list[str]`, `list[str] | None`)."""
    origin = get_origin(annotation)
    if isinstance(annotation, TypeAliasType):
        return _is_list(annotation.__value__)
    if origin is Annotated:
        return _is_list(get_args(annotation)[0])
    if origin in (Union, UnionType):
        members = [each for each in get_args(annotation) if each is not type(None)]
        return all(map(_is_list, members))
    return origin is list or annotation is list


def _deeper_than(value: Any, depth: int) -> bool:
    if depth < 0:
        return True
    if isinstance(value, dict):
        return any(_deeper_than(item, depth - 1) for item in value.values())
    if isinstance(value, list):
        return any(_deeper_than(item, depth - 1) for item in value)
    return False


def _fault(message: str) -> InvalidOptions:
    return InvalidOptions.of("body", message)
