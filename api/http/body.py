"""Reads a request's body within its limits: JSON or form fields, either gives named options."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel
from pydantic_core import from_json

from resop.errors import BodyTooLarge, InvalidOptions, UnsupportedBody

FORM = "application/x-www-form-urlencoded"
MAX_BYTES = 1 << 20
MAX_DEPTH = 20
MAX_OPTIONS = 200


async def read_options(request: Request, model: type[BaseModel]) -> dict[str, Any]:
    """The options that a request's body gives, not yet checked against `model`.

    Raises BodyTooLarge, UnsupportedBody, or InvalidOptions for what is not JSON (or form
    fields), is not an object, or is nested too deep.
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
    if len(options) > MAX_OPTIONS:
        raise _fault(f"has {len(options)} options; at most {MAX_OPTIONS} are taken")
    return options


def content_type(request: Request) -> str:
    """Of the body, without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request) -> bytes:
    """The whole body; BodyTooLarge as soon as it is more than may be."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BYTES:
            raise BodyTooLarge(f"the body has more than {MAX_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def _from_json(body: bytes) -> dict[str, Any]:
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as fault:
        raise _fault(f"is not JSON: {fault}") from None
    if not isinstance(value, dict):
        raise _fault("is not a JSON object of options")
    if _deeper_than(value, MAX_DEPTH):
        raise _fault(f"is nested deeper than {MAX_DEPTH} levels")
    return value


def parse_form(body: bytes) -> list[tuple[str, str]]:
    """The fields of a form in their order; InvalidOptions for what is none."""
    try:
        return parse_qsl(
            body.decode(),  # `curl -d` sends what is no ASCII as it is
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_OPTIONS * 10,
        )
    except ValueError as fault:
        # Without the field itself, which may be long, or a secret.
        said = str(fault).partition(":")[0]
        reason = "it is not UTF-8" if isinstance(fault, UnicodeError) else said
        raise _fault(f"is not a list of form fields: {reason}") from None


def _from_form(body: bytes, model: type[BaseModel]) -> dict[str, Any]:
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    options: dict[str, Any] = {}
    for name, text in parse_form(body):
        field = fields.get(name)
        if text == "" and field is not None and not field.is_required():
            continue  # what a person left open in a form
        if name in options or (field and _is_list(field.annotation)):
            before = options.get(name, [])
            options[name] = [*(before if isinstance(before, list) else [before]), text]
        else:
            options[name] = text
    return options


def _is_list(annotation: Any) -> bool:
    """Whether a field takes a list and no single text (`list[str]`, `list[str] | None`)."""
    kinds = [kind for kind in getattr(annotation, "__args__", ()) if kind is not type(None)]
    if getattr(annotation, "__origin__", None) is list:
        return True
    return bool(kinds) and all(getattr(kind, "__origin__", None) is list for kind in kinds)


def _deeper_than(value: Any, depth: int) -> bool:
    if depth < 0:
        return True
    if isinstance(value, dict):
        return any(_deeper_than(item, depth - 1) for item in value.values())
    if isinstance(value, list):
        return any(_deeper_than(item, depth - 1) for item in value)
    return False


def _fault(message: str) -> InvalidOptions:
    return InvalidOptions([{"field": "body", "message": message}])
