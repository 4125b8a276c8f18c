"""An action's options: checked, read back by the names a request uses, faults told one by one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from resop.errors import InvalidOptions


def check_options(model: type[BaseModel], given: Mapping[str, Any]) -> BaseModel:
    """Validate a request's options; InvalidOptions lists every fault with its field."""
    try:
        return model.model_validate(given)
    except ValidationError as fault:
        raise InvalidOptions(option_faults(fault, option_names(model))) from None


def option_names(model: type[BaseModel]) -> list[str]:
    """The names that a request may use."""
    return [field.alias or name for name, field in model.model_fields.items()]


def option_values(options: BaseModel) -> dict[str, Any]:
    """What the request gave, by the names it used; defaults are left out."""
    fields = type(options).model_fields
    return {
        field.alias or name: getattr(options, name)
        for name, field in fields.items()
        if name in options.model_fields_set
    }


def accepts_secret(model: type[BaseModel]) -> bool:
    """Whether any of the options, at any depth, is a Secret."""
    return '"writeOnly": true' in json.dumps(model.model_json_schema())


def option_faults(fault: ValidationError, declared: Iterable[str] = ()) -> list[dict[str, str]]:
    """Pydantic's errors as `[{"field", "message"}, …]`, never with the value itself."""
    faults: dict[tuple[str, str], dict[str, str]] = {}
    for error in fault.errors(include_url=False, include_context=False, include_input=False):
        first, *further = error["loc"] or ("body",)
        place = [str(part) for part in further if not _is_branch(part)]
        name, message = ".".join([str(first), *place]), error["msg"].removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            message = f"no such option; there is {', '.join(declared) or 'none'}"
        faults[name, message] = {"field": name, "message": message}
    return list(faults.values())


_BRANCHES = frozenset(["str", "bool", "int", "float", "date", "datetime", "constrained-str"])


def _is_branch(part: int | str) -> bool:
    # A union's alternatives appear in the place of an error ('list[str]'); no option is so named.
    return isinstance(part, str) and ("[" in part or part in _BRANCHES)
