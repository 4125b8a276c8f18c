"""Accept the other spellings of options: another name, and a flag without a value.

Requests, examples, scenarios and operations pass through here, so that each spelling means the same
everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from resop.actions.option_types import is_flag
from resop.errors import InvalidOptions
from resop.types import Alias


@dataclass(frozen=True, slots=True)
class _Spellings:
    """The names by which requests may call the options of a model."""

    fields: Mapping[str, FieldInfo]
    """The fields by every name, aliases included."""
    names: Mapping[str, str]
    """The name of an option by its alias."""
    flags: frozenset[str]
    """The names of the options that are true or false."""


def fields_by_name(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """Return the fields of a model by each name that a request may use."""
    return _spellings(model).fields


def names_by_alias(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the names of a model's options by the other names that a request may use."""
    return _spellings(model).names


def plain_spelling(model: type[BaseModel], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return options under their own names, and true for a flag whose value is empty.

    Raises InvalidOptions for an option that is given under two names.
    """
    known = _spellings(model)
    if not known.names.keys().isdisjoint(values):
        values = _renamed(known.names, values)
    if "" in values.values():
        return {
            name: True if value == "" and name in known.flags else value
            for name, value in values.items()
        }
    return values


def _renamed(names: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    given: dict[str, str] = {}
    for spelling in values:
        name = names.get(spelling, spelling)
        if name in given:
            message = f"is given twice: as {given[name]!r} and as {spelling!r}"
            raise InvalidOptions.of(name, message)
        given[name] = spelling
    return {name: values[spelling] for name, spelling in given.items()}


@lru_cache(maxsize=1024)
def _spellings(model: type[BaseModel]) -> _Spellings:
    own = {field.alias or name: field for name, field in model.model_fields.items()}
    names: dict[str, str] = {}
    for name, field in own.items():
        aliases = [each.name for each in field.metadata if isinstance(each, Alias)]
        for alias in (*aliases, name.replace("_", "-"), name.replace("-", "_")):
            if alias not in own:
                names.setdefault(alias, name)
    return _Spellings(
        fields={**own, **{alias: own[name] for alias, name in names.items()}},
        names=names,
        flags=frozenset(name for name, field in own.items() if is_flag(field.annotation)),
    )
