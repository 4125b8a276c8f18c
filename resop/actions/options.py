"""An action's options: validate a request's values, and report every fault by option name."""

from __future__ import annotations

import difflib
import json
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError, create_model

from resop.actions.spellings import plain_spelling
from resop.errors import InvalidOptions
from resop.pydantic_messages import validation_message
from resop.steps.json_text import is_short

MAX_SUGGESTIONS = 20
"""Faults of one request that suggest an option's name: each takes some 0.1 ms to find."""
MAX_SUGGESTION_LENGTH = 100
"""Longer unknown names get no suggestion: comparing them takes too long."""
MAX_NAME_LENGTH = 1000
"""Longer unknown names are cut where they are reported."""
MAX_REPORTED_VALUES = 2000
"""In options of more characters and values, of each list the first fault only is reported: a fault
takes far more memory than a value."""

Schema = Mapping[str, Any]


def check_options(model: type[BaseModel], values: Mapping[str, Any]) -> BaseModel:
    """Validate a request's options. Raises InvalidOptions, which lists every fault.

    Of long options, it lists the first fault of each list.
    """
    values = plain_spelling(model, values)
    try:
        if is_short(values, MAX_REPORTED_VALUES):
            return model.model_validate(values)
        return fail_fast(model).model_validate(values)
    except ValidationError as error:
        raise InvalidOptions(option_faults(error, model)) from None


def option_names(model: type[BaseModel]) -> list[str]:
    """Return the option names that a request may use."""
    return [field.alias or name for name, field in model.model_fields.items()]


def option_values(options: BaseModel) -> dict[str, Any]:
    """Return the options of a request by their names, without defaults."""
    fields = type(options).model_fields
    return {
        field.alias or name: getattr(options, name)
        for name, field in fields.items()
        if name in options.model_fields_set
    }


def accepts_secret(model: type[BaseModel]) -> bool:
    """Return True if any of the options, at any depth, is a Secret."""
    return '"writeOnly": true' in json.dumps(model.model_json_schema())


def secret_options(model: type[BaseModel]) -> set[str]:
    """Return the names of the options that accept a Secret at any depth."""
    return {
        name
        for name, field in zip(option_names(model), model.model_fields.values(), strict=True)
        if accepts_secret(create_model("option", value=(field.annotation or Any, field)))
    }


def option_faults(
    error: ValidationError, model: type[BaseModel], *, noun: str = "option"
) -> list[dict[str, str]]:
    """Return pydantic's errors as `[{"field", "message"}, …]`, one per field, without values.

    `noun` is the word for an unknown name: "unknown option 'lins'".
    """
    return [
        {"field": ".".join(path) or "body", "message": message}
        for path, message in faults_by_path(error, model, noun=noun).items()
    ]


def faults_by_path(
    error: ValidationError, model: type[BaseModel], *, noun: str = "option"
) -> dict[tuple[str, ...], str]:
    """Return the message for each faulty field, by the names that lead to it."""
    schema = _schema(model)
    messages: dict[tuple[str, ...], dict[str, bool]] = {}
    for each in error.errors(include_url=False, include_input=False):
        path, names = _locate(schema, each["loc"])
        message = validation_message(each)
        if each["type"] == "extra_forbidden":
            unknown = str(each["loc"][-1])
            path.append(unknown[:MAX_NAME_LENGTH])
            suggest = len(messages) < MAX_SUGGESTIONS
            message = unknown_name(noun, unknown[:MAX_NAME_LENGTH], names, suggest=suggest)
        messages.setdefault(tuple(path), {})[message] = each["type"].endswith("_type")
    # Where one alternative of a union fits so far that its inside is reported, the others do not
    # matter.
    outer = {path[:length] for path in messages for length in range(len(path))}
    return {path: _one_message(found) for path, found in messages.items() if path not in outer}


def _one_message(messages: Mapping[str, bool]) -> str:
    """Return one message for the alternatives of a union; True marks a wrong type."""
    best = [message for message, wrong_type in messages.items() if not wrong_type]
    best = best or list(messages)
    if "must be a number" in best:
        best = [message for message in best if message != "must be a whole number"]
    if all(message.startswith("must be ") for message in best):
        return " or ".join([best[0], *(message.removeprefix("must be ") for message in best[1:])])
    return ", or ".join(best)


def unknown_name(noun: str, name: str, names: Sequence[str], *, suggest: bool) -> str:
    """Return the message for an unknown name, with a similar one of `names` if asked for."""
    near: Iterable[str] = ()
    if suggest and len(name) <= MAX_SUGGESTION_LENGTH:
        near = difflib.get_close_matches(name.lower(), names, n=1)
    hint = "".join(f"; did you mean '{each}'?" for each in near)
    return f"unknown {noun} '{name}'{hint} ({noun}s: {', '.join(names) or 'none'})"


@lru_cache(maxsize=1024)
def fail_fast(model: type[BaseModel]) -> type[BaseModel]:
    """Return the model with lists that are left at their first fault."""

    def schema(cls: type[BaseModel], source: Any, handler: GetCoreSchemaHandler) -> Any:
        return _with_fail_fast(handler(source))

    members = {"__get_pydantic_core_schema__": classmethod(schema), "__module__": model.__module__}
    quick: type[BaseModel] = types.new_class(
        model.__name__, (model,), exec_body=lambda namespace: namespace.update(members)
    )
    return quick


def _with_fail_fast(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_with_fail_fast(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {name: _with_fail_fast(each) for name, each in schema.items()}
    if schema.get("type") in ("list", "tuple", "set", "frozenset"):
        changed["fail_fast"] = True
    return changed


@lru_cache(maxsize=1024)
def _schema(model: type[BaseModel]) -> Schema:
    return model.model_json_schema()


def _locate(schema: Schema, location: Sequence[int | str]) -> tuple[list[str], list[str]]:
    """Return the path of a value in a request, and the option names of its innermost level.

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
        if part < len(fixed := node.get("prefixItems", ())):
            return [fixed[part]]
        return [node["items"]] if "items" in node else []
    if part in node.get("properties", ()):
        return [node["properties"][part]]
    if "[" in part:
        return []
    others = node.get("additionalProperties", False)
    members = [*node.get("patternProperties", {}).values(), others]
    return [{} if each is True else each for each in members if each is not False]
