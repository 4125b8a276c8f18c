"""An action's options: validate a request's values, and report every fault by option name."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ValidationError

from resop.errors import InvalidOptions

MAX_SUGGESTIONS = 20
"""Faults of one request that suggest an option's name: each takes some 0.1 ms to find."""
LONGEST_NAME = 100

Schema = Mapping[str, Any]


def check_options(model: type[BaseModel], given: Mapping[str, Any]) -> BaseModel:
    """Validate a request's options; InvalidOptions lists every fault with its field."""
    try:
        return model.model_validate(given)
    except ValidationError as fault:
        raise InvalidOptions(option_faults(fault, model)) from None


def option_names(model: type[BaseModel]) -> list[str]:
    """The names that a request may use."""
    return [field.alias or name for name, field in model.model_fields.items()]


def option_values(options: BaseModel) -> dict[str, Any]:
    """Return the values that a request set, by the names it used; defaults are omitted."""
    fields = type(options).model_fields
    return {
        field.alias or name: getattr(options, name)
        for name, field in fields.items()
        if name in options.model_fields_set
    }


def accepts_secret(model: type[BaseModel]) -> bool:
    """Return True if any of the options, at any depth, is a Secret."""
    return '"writeOnly": true' in json.dumps(model.model_json_schema())


def option_faults(fault: ValidationError, model: type[BaseModel]) -> list[dict[str, str]]:
    """Pydantic's errors as `[{"field", "message"}, …]`, never with the value itself."""
    schema = _schema(model)
    faults: dict[tuple[str, str], dict[str, str]] = {}
    for error in fault.errors(include_url=False, include_context=False, include_input=False):
        path, names = _locate(schema, error["loc"])
        message = error["msg"].removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            unknown = str(error["loc"][-1])
            path.append(unknown)
            message = _unknown_option(unknown, names, suggest=len(faults) < MAX_SUGGESTIONS)
        field = ".".join(path) if path else "body"
        faults[field, message] = {"field": field, "message": message}
    return list(faults.values())


def _unknown_option(name: str, names: Sequence[str], *, suggest: bool) -> str:
    near: Sequence[str] = ()
    if suggest and len(name) <= LONGEST_NAME:
        near = difflib.get_close_matches(name.lower(), names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"unknown option '{name}'{hint} (options: {', '.join(names) or 'none'})"


@lru_cache(maxsize=1024)
def _schema(model: type[BaseModel]) -> Schema:
    return model.model_json_schema()


def _locate(schema: Schema, location: Sequence[int | str]) -> tuple[list[str], list[str]]:
    """Return the path of a value in a request, and the option names of its level.

    Pydantic's location also names the alternatives of a union (`list[str]`, `range`) and marks a
    key (`[key]`); a request knows neither, so only parts that the schema has are returned.
    """
    path: list[str] = []
    nodes = list(_alternatives(schema, schema))
    for part in location:
        inner = [each for node in nodes for each in _members(node, part)]
        if inner:
            path.append(str(part))
            nodes = [each for node in inner for each in _alternatives(schema, node)]
    return path, list(dict.fromkeys(name for node in nodes for name in node.get("properties", ())))


def _alternatives(schema: Schema, node: Schema) -> Iterator[Schema]:
    """Yield the node, or, for a reference or a union, each schema that it stands for."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].removeprefix("#/$defs/")]
    unions = [each for key in ("anyOf", "oneOf", "allOf") for each in node.get(key, ())]
    for each in unions:
        yield from _alternatives(schema, each)
    if not unions:
        yield node


def _members(node: Schema, part: int | str) -> list[Schema]:
    """Return the schemas of a member of an array (a number) or of an object (a name)."""
    if isinstance(part, int):
        return [node["items"]] if "items" in node else []
    if part in node.get("properties", ()):
        return [node["properties"][part]]
    if "[" in part:
        return []
    others = node.get("additionalProperties", False)
    members = [*node.get("patternProperties", {}).values(), others]
    return [{} if each is True else each for each in members if each is not False]
