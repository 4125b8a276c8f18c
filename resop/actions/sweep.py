"""The items of a batch: parameters' values from lists and ranges, filled into the options."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Mapping
from fractions import Fraction
from math import prod
from typing import Annotated, Any, Literal, Self

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

TEMPLATE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
MOST_PARAMETERS = 100

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Number = StrictInt | StrictFloat
Item = dict[Name, Any]


class Range(BaseModel):
    """Numbers in equal steps; `to` is one of them if a step ends there."""

    model_config = ConfigDict(extra="forbid")

    start: Annotated[Number, Field(alias="from", ge=-1e15, le=1e15)]
    to: Annotated[Number, Field(ge=-1e15, le=1e15)]
    step: Annotated[Number, Field(ge=-1e15, le=1e15)] = 1

    @model_validator(mode="after")
    def _leads_there(self) -> Self:
        if self.step == 0 or self.size < 1:
            raise ValueError(f"no step of {self.step} leads from {self.start} to {self.to}")
        return self

    @property
    def size(self) -> int:
        """How many they are; no `len`, which ends at 2^63."""
        return int((_exact(self.to) - _exact(self.start)) // _exact(self.step)) + 1

    def numbers(self) -> list[int | float]:
        """All of them, whole ones if the three are."""
        given = (self.start, self.to, self.step)
        kind = int if all(isinstance(number, int) for number in given) else float
        start, step = _exact(self.start), _exact(self.step)
        return [kind(start + number * step) for number in range(self.size)]


def _exact(number: float) -> Fraction:
    """As it is written: 0.1, 0.2, 0.3 and not 0.30000000000000004."""
    return Fraction(str(number))


Values = Annotated[
    Annotated[list[Any], Field(min_length=1), Tag("list")] | Annotated[Range, Tag("range")],
    Discriminator(lambda given: "list" if isinstance(given, list) else "range"),
]


class BatchBody(BaseModel):
    """What a batch is made of."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    options: Annotated[
        dict[str, Any],
        Field(
            description="the action's options; '{{name}}' in a text stands for a parameter's "
            "value, which keeps its type where it is all of the text"
        ),
    ] = {}
    sweep: Annotated[
        dict[Name, Values] | None,
        Field(
            min_length=1,
            max_length=MOST_PARAMETERS,
            description='values by parameter: a list, or {"from": 1, "to": 9, "step": 2}',
        ),
    ] = None
    combine: Annotated[
        Literal["product", "zip"],
        Field(description="each combination of values, or the first ones, the second ones, …"),
    ] = "product"
    items: Annotated[
        list[Annotated[Item, Field(max_length=MOST_PARAMETERS)]] | None,
        Field(min_length=1, description="the parameters of each task, in place of a sweep"),
    ] = None
    at_once: Annotated[
        int | None, Field(ge=1, description="the most of its tasks that run at the same time")
    ] = None

    @model_validator(mode="after")
    def _has_items(self) -> Self:
        if (self.sweep is None) == (self.items is None):
            raise ValueError("give either 'sweep' or 'items'")
        return self

    @property
    def parameters(self) -> list[str]:
        """The names of all parameters, as they first appear."""
        if self.sweep is not None:
            return list(self.sweep)
        return list(dict.fromkeys(name for item in self.items or () for name in item))


def expand(body: BatchBody, most: int) -> list[Item] | Iterator[Item]:
    """The items, made as they are taken, the last parameter of a product changing first.

    Raises InvalidOptions for more than `most`, before one is made.
    """
    if body.items is not None:
        _check_count("items", len(body.items), most)
        return body.items
    assert body.sweep is not None
    sizes = {
        name: values.size if isinstance(values, Range) else len(values)
        for name, values in body.sweep.items()
    }
    if body.combine == "zip":
        _check_count("sweep", max(sizes.values()), most)
        if len(set(sizes.values())) > 1:
            shown = ", ".join(f"{name} has {size}" for name, size in sizes.items())
            raise fault("sweep", f"values that differ in number cannot be zipped: {shown}")
    else:
        _check_count("sweep", prod(sizes.values()), most)
    lists = [
        values.numbers() if isinstance(values, Range) else values for values in body.sweep.values()
    ]
    rows = zip(*lists, strict=True) if body.combine == "zip" else itertools.product(*lists)
    return (dict(zip(sizes, row, strict=True)) for row in rows)


def _check_count(field: str, count: int, most: int) -> None:
    if count > most:
        raise fault(field, f"makes {count} tasks; a batch has at most {most}")


def templates_in(value: Any) -> set[str]:
    """The names of all templates in the texts of a JSON value."""
    if isinstance(value, str):
        return set(TEMPLATE.findall(value))
    if isinstance(value, dict | list):
        within = value.values() if isinstance(value, dict) else value
        return set().union(*map(templates_in, within))
    return set()


class Form:
    """The options of a batch, to be filled in with one item after the other."""

    def __init__(self, options: Mapping[str, Any], names: Collection[str]) -> None:
        """`names` are those of the action's options.

        A parameter that no template names is itself an option, if there is one of that name.
        """
        self._options = options
        self._names = names
        self.used = {name: templates_in(value) for name, value in options.items()}
        self._used_somewhere = set().union(*self.used.values())

    def faults(self, parameters: Collection[str]) -> list[dict[str, str]]:
        """What is wrong with parameters of these names: too few, or of no use."""
        missing = sorted(self._used_somewhere.difference(parameters))
        faults = [{"field": name, "message": "a template names it: give it"} for name in missing]
        for name in parameters:
            if name in self._used_somewhere:
                continue
            if name not in self._names:
                message = "no template names it, and there is no such option"
            elif name in self._options:
                message = "no template names it, and the option is given already"
            else:
                continue
            faults.append({"field": name, "message": message})
        return faults

    def fill(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """The options with the values of an item.

        Raises InvalidOptions for what `faults` says, and for a list or an object inside of a text.
        """
        if faults := self.faults(item):
            raise InvalidOptions(faults)
        direct = {name: item[name] for name in item if name not in self._used_somewhere}
        return {name: _filled(value, item) for name, value in self._options.items()} | direct

    def parameters_of(self, options: Collection[str], item: Collection[str]) -> set[str]:
        """The parameters of an item that these options are made of."""
        return set().union(*(self.used.get(option, {option}) for option in options)) & set(item)


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
    """A value inside of a text: as JSON has it, a text as it is."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise fault(name, "only a text, a number, true or false can stand inside of a text")


def fault(field: str, message: str) -> InvalidOptions:
    """One fault of a request."""
    return InvalidOptions([{"field": field, "message": message}])
