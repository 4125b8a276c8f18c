"""Parameter sweeps: values from lists and ranges, combined, and filled into a batch's options.

Batches and operators' sweeps share one vocabulary: `start`, `stop` (inclusive) and `step` of a
range, `mode` (`product` or `zip`), and `items` for parameters that are listed task by task.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from fractions import Fraction
from math import prod
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StrictFloat,
    StrictInt,
    Tag,
    model_validator,
)

from resop.errors import InvalidOptions
from resop.types import ErrorMessage

TEMPLATE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
MAX_PARAMETERS = 100
MAX_WRITTEN_COUNT = 10**18
MAX_FILLED_CHARACTERS = 1 << 20
"""The longest options of a task after its templates were filled, as long as a request's body."""

T = TypeVar("T")
ParameterName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"),
    ErrorMessage(
        "must be a parameter's name: up to 64 letters, digits and '_', not beginning with a digit"
    ),
]
RangeNumber = Annotated[StrictInt | StrictFloat, Field(ge=-1e15, le=1e15)]
BatchItem = dict[ParameterName, Any]
SweepMode = Literal["product", "zip"]


class NumberRange(BaseModel):
    """Numbers from `start` to `stop` in equal steps; `stop` is included if a step ends there."""

    model_config = ConfigDict(extra="forbid")

    start: RangeNumber
    stop: Annotated[RangeNumber, Field(description="included, if a step ends there")]
    step: RangeNumber = 1

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_names(cls, given: Any) -> Any:
        return _renamed(given, {"from": "start", "to": "stop"})

    @model_validator(mode="after")
    def _check_direction(self) -> Self:
        if self.step == 0 or self.size < 1:
            raise ValueError(
                f"a step of {self.step} does not lead from {self.start} to {self.stop}"
            )
        return self

    @property
    def size(self) -> int:
        """The number of values. Not `__len__`, which fails above 2^63."""
        return int((_exact(self.stop) - _exact(self.start)) // _exact(self.step)) + 1

    def numbers(self) -> list[int | float]:
        """Return all values: integers if start, stop and step are."""
        bounds = (self.start, self.stop, self.step)
        kind = int if all(isinstance(number, int) for number in bounds) else float
        start, step = _exact(self.start), _exact(self.step)
        return [kind(start + number * step) for number in range(self.size)]


def _exact(number: float) -> Fraction:
    """Return the number as it is written: 0.1, 0.2, 0.3 and not 0.30000000000000004."""
    return Fraction(str(number))


def _renamed(given: Any, names: Mapping[str, str]) -> Any:
    """Refuse keys that have another name here, and say which."""
    used = [old for old in names if isinstance(given, dict) and old in given]
    if used:
        raise ValueError(", ".join(f"use '{names[old]}' instead of '{old}'" for old in used))
    return given


def _kind_of_values(given: Any) -> str | None:
    if isinstance(given, list):
        return "list"
    return "range" if isinstance(given, dict | NumberRange) else None


ParameterValues = Annotated[
    Annotated[list[T], Field(min_length=1), Tag("list")] | Annotated[NumberRange, Tag("range")],
    Discriminator(
        _kind_of_values,
        custom_error_type="explained",
        custom_error_message='must be a list of values, or a range such as {"start": 1, "stop": 9}',
    ),
]
"""The values of one parameter: a list, or a range of numbers."""


class BatchBody(BaseModel):
    """The request that launches a batch."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    options: Annotated[
        dict[str, Any],
        Field(
            description="the action's options; '{{name}}' in a text is replaced by that "
            "parameter's value, which keeps its type if there is no other text around it"
        ),
    ] = {}
    sweep: Annotated[
        dict[ParameterName, ParameterValues[Any]] | None,
        Field(
            min_length=1,
            max_length=MAX_PARAMETERS,
            description="values by parameter: a list, or a range of numbers such as "
            '{"start": 1, "stop": 9, "step": 2}, with stop included',
        ),
    ] = None
    mode: Annotated[
        SweepMode,
        Field(
            description="product: every combination of the values; "
            "zip: the first values together, the second values together, …"
        ),
    ] = "product"
    items: Annotated[
        list[Annotated[BatchItem, Field(max_length=MAX_PARAMETERS)]] | None,
        Field(min_length=1, description="instead of sweep: the parameters of each task"),
    ] = None
    at_once: Annotated[
        int | None, Field(ge=1, description="maximum number of tasks that run at the same time")
    ] = None
    keep_going: Annotated[
        bool,
        Field(
            description="make a failed task of each invalid item, and run the others; by default "
            "one invalid item refuses the whole batch"
        ),
    ] = False

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_names(cls, given: Any) -> Any:
        return _renamed(given, {"combine": "mode"})

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if (self.sweep is None) == (self.items is None):
            raise ValueError("give either 'sweep' or 'items'")
        return self

    @property
    def parameters(self) -> list[str]:
        """The names of all parameters, in the order of their first appearance."""
        if self.sweep is not None:
            return list(self.sweep)
        return list(dict.fromkeys(name for item in self.items or () for name in item))


def batch_items(body: BatchBody, limit: int) -> list[BatchItem] | Iterator[BatchItem]:
    """Return the parameters of each task.

    Raises InvalidOptions for more than `limit` tasks, before any is made.
    """
    if body.items is not None:
        check_count("items", len(body.items), limit)
        return body.items
    return combine_parameters(body.sweep or {}, body.mode, limit=limit, field="sweep")


def combine_parameters(
    parameters: Mapping[str, list[Any] | NumberRange],
    mode: SweepMode,
    *,
    limit: int,
    field: str,
    max_characters: float = math.inf,
) -> Iterator[dict[str, Any]]:
    """Yield each combination of the parameters' values, made when it is asked for.

    In a `product` the last parameter changes first; `zip` takes the first values, then the second
    ones, …. Raises InvalidOptions, with `field` as the option's name, for more than `limit`
    combinations, or if all of them together have more than about `max_characters`, before any is
    made, and for a `zip` of unequal numbers of values.
    """
    sizes = {
        name: values.size if isinstance(values, NumberRange) else len(values)
        for name, values in parameters.items()
    }
    count = max(sizes.values()) if mode == "zip" else prod(sizes.values())
    check_count(field, count, limit)
    if mode == "zip" and len(set(sizes.values())) > 1:
        counts = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise fault(field, f"zip needs equally many values of each parameter: {counts}")
    if count * json_size(list(sizes)) + _values_size(parameters, count) > max_characters:
        raise fault(field, f"gives runs with more than {max_characters} characters in all")
    lists = [
        values.numbers() if isinstance(values, NumberRange) else values
        for values in parameters.values()
    ]
    rows = zip(*lists, strict=True) if mode == "zip" else itertools.product(*lists)
    return (dict(zip(sizes, row, strict=True)) for row in rows)


def _values_size(parameters: Mapping[str, list[Any] | NumberRange], count: int) -> int:
    """Return about how many characters the values have in `count` combinations."""
    return sum(
        8 * count if isinstance(values, NumberRange) else count // len(values) * json_size(values)
        for values in parameters.values()
    )


def check_count(field: str, count: int, limit: int) -> None:
    """Raise InvalidOptions for more items or combinations than `limit`."""
    if count > limit:
        # A number of thousands of digits cannot even be written.
        many = str(count) if count <= MAX_WRITTEN_COUNT else f"more than {MAX_WRITTEN_COUNT}"
        raise fault(field, f"gives {many} sets of parameters; at most {limit} are allowed")


def json_size(value: Any) -> int:
    """Return about how many characters a value has as JSON, without writing it."""
    size, pending = 0, [value]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            size += len(value) + 2
        elif isinstance(value, Mapping):
            size += 2 * len(value)
            pending += [*value, *value.values()]
        elif isinstance(value, list | tuple):
            size += len(value) + 1
            pending += value
        else:
            size += 8
    return size


def templates_in(value: Any) -> set[str]:
    """Return the names of all templates in the texts of a JSON value."""
    return set(_uses(value))


class OptionTemplate:
    """A batch's options with templates, to be filled with one item's parameters after the other."""

    def __init__(self, options: Mapping[str, Any], names: Collection[str]) -> None:
        """Prepare the options of an action whose options have these `names`.

        A parameter that no template names sets the option with its name, if there is one.
        """
        self._options = options
        self._names = names
        self.used = {name: templates_in(value) for name, value in options.items()}
        self._used_somewhere = set().union(*self.used.values())
        self._uses = Counter(_uses(options))
        self._size = json_size(options)

    def faults(self, parameters: Collection[str]) -> list[dict[str, str]]:
        """Return a fault for each missing parameter and for each that nothing uses."""
        missing = sorted(self._used_somewhere.difference(parameters))
        faults = [
            {"field": name, "message": f"missing: the options use {{{{{name}}}}}"}
            for name in missing
        ]
        for name in parameters:
            if name in self._used_somewhere:
                continue
            if name not in self._names:
                message = f"nothing uses it: no {{{{{name}}}}} in the options, no option '{name}'"
            elif name in self._options:
                message = f"the options set '{name}' already, and contain no {{{{{name}}}}}"
            else:
                continue
            faults.append({"field": name, "message": message})
        return faults

    def fill(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options with the values of an item.

        Raises InvalidOptions with the `faults` of its parameters, and for a list or an object
        that would have to become part of a text.
        """
        if faults := self.faults(item):
            raise InvalidOptions(faults)
        if self.filled_size(item) > MAX_FILLED_CHARACTERS:
            message = f"have more than {MAX_FILLED_CHARACTERS} characters once they are filled"
            raise fault("options", message)
        direct = {name: item[name] for name in item if name not in self._used_somewhere}
        return {name: _filled(value, item) for name, value in self._options.items()} | direct

    def filled_size(self, item: Mapping[str, Any]) -> int:
        """Return about how many characters the options have with the values of an item."""
        return self._size + sum(
            json_size(value) * (self._uses[name] if name in self._used_somewhere else 1)
            for name, value in item.items()
        )

    def parameters_of(self, options: Collection[str], item: Collection[str]) -> set[str]:
        """Return the parameters of an item that these options are made from."""
        return set().union(*(self.used.get(option, {option}) for option in options)) & set(item)


def _uses(value: Any) -> Iterator[str]:
    """Yield the name of each template in the texts of a JSON value, as often as it is used."""
    if isinstance(value, str):
        yield from TEMPLATE.findall(value)
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _uses(each)


def _filled(value: Any, item: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        if whole := TEMPLATE.fullmatch(value):
            return item[whole[1]]
        return TEMPLATE.sub(lambda found: _text(found[1], item[found[1]]), value)
    if isinstance(value, dict):
        return {key: _filled(each, item) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, item) for each in value]
    return value


def _text(name: str, value: Any) -> str:
    """Return a value as part of a text: numbers and booleans as JSON writes them."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise fault(name, "only a text, a number, true or false can become part of a text")


def fault(field: str, message: str) -> InvalidOptions:
    """Return InvalidOptions with a single fault."""
    return InvalidOptions([{"field": field, "message": message}])
