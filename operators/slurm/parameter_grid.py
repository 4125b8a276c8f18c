"""The runs of a sweep: what each of them has for its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import product
from math import prod
from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm.submit_options import Variable
from resop import Argument, InvalidOptions

MOST_RUNS = 100_000
"""More would not fit into a batch script: Slurm takes 4 MiB unless the site says otherwise."""

Value = bool | int | float | Argument
Run = dict[Variable, Value]


class Range(TypedDict):
    """Numbers from `start` to `stop`, which is one of them if a `step` ends there."""

    start: int | float
    stop: int | float
    step: NotRequired[int | float]


Values = Annotated[list[Value], Field(min_length=1)] | Range
Mode = Literal["product", "zip"]


def runs(parameters: Mapping[str, list[Value] | Range], mode: Mode) -> list[Run]:
    """Each combination, the last parameter changing first; or the first of each, the second, …

    Raises InvalidOptions for too many, and for lists that differ in length and cannot be zipped.
    """
    values = {name: _listed(name, each) for name, each in parameters.items()}
    sizes = {name: len(each) for name, each in values.items()}
    if mode == "zip":
        if len(set(sizes.values())) > 1:
            shown = ", ".join(f"{name} has {size}" for name, size in sizes.items())
            raise _fault("parameters", f"differ in length, so they cannot be zipped: {shown}")
        rows: Sequence[Sequence[Value]] = list(zip(*values.values(), strict=True))
    else:
        check_count("parameters", prod(sizes.values()))
        rows = list(product(*values.values()))
    return [dict(zip(values, row, strict=True)) for row in rows]


def check_count(field: str, count: int) -> None:
    """InvalidOptions for more runs than one sweep can have."""
    if count > MOST_RUNS:
        raise _fault(field, f"make {count} runs; a sweep has at most {MOST_RUNS}")


def _listed(name: str, values: list[Value] | Range) -> list[Value]:
    """The values; those of a range are exact: 0.1, 0.2, 0.3, not 0.30000000000000004."""
    if isinstance(values, list):
        return values
    numbers = [values["start"], values["stop"], values.get("step", 1)]
    start, stop, step = (Decimal(str(number)) for number in numbers)
    field = f"parameters.{name}"
    if step == 0 or (stop - start) / step < 0:
        raise _fault(field, f"no step of {step} leads from {start} to {stop}")
    steps = int((stop - start) / step)
    check_count(field, steps + 1)
    kind = int if all(isinstance(number, int) for number in numbers) else float
    return [kind(start + step * number) for number in range(steps + 1)]


def _fault(field: str, message: str) -> InvalidOptions:
    return InvalidOptions([{"field": field, "message": message}])
