"""Faults of options: where they are, and which names a request may use there."""

from __future__ import annotations

import tracemalloc
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from resop.actions.options import (
    MAX_SUGGESTION_LENGTH,
    MAX_SUGGESTIONS,
    check_options,
    option_values,
)
from resop.actions.sweep import ParameterValues
from resop.errors import InvalidOptions
from resop.types import ErrorMessage

Capitals = Annotated[str, Field(pattern="^[A-Z]+$", max_length=4), ErrorMessage("must be capitals")]


class Point(TypedDict):
    """A nested option."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    across: int
    down: int


class Options(BaseModel):
    """Options with every kind of nesting."""

    model_config = ConfigDict(extra="forbid")

    lines: int = 0
    sweep: dict[Capitals, ParameterValues[int]] | None = None
    points: list[Point] | None = None
    where: Point | Capitals | None = None
    free: dict[str, int | Capitals] = {}


def faults(options: dict[str, Any]) -> dict[str, str]:
    """Return the messages by field."""
    with pytest.raises(InvalidOptions) as refused:
        check_options(Options, options)
    return {each["field"]: each["message"] for each in refused.value.details["faults"]}


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        (
            {"lins": 1},
            "lins",
            "unknown option 'lins'; did you mean 'lines'? "
            "(options: lines, sweep, points, where, free)",
        ),
        (
            {"LINE": 1},
            "LINE",
            "unknown option 'LINE'; did you mean 'lines'? "
            "(options: lines, sweep, points, where, free)",
        ),
        (
            {"sweep": {"T": {"start": 1, "stp": 2, "stop": 3}}},
            "sweep.T.stp",
            "unknown option 'stp'; did you mean 'stop'? (options: start, stop, step)",
        ),
        (
            {"sweep": {"T": {"start": 1, "stop": 3, "zz": 2}}},
            "sweep.T.zz",
            "unknown option 'zz' (options: start, stop, step)",
        ),
        (
            {"points": [{"across": 1, "down": 2}, {"across": 1, "down": 2, "depth": 3}]},
            "points.1.depth",
            "unknown option 'depth' (options: across, down)",
        ),
        (
            {"where": {"across": 1, "down": 2, "donw": 3}},
            "where.donw",
            "unknown option 'donw'; did you mean 'down'? (options: across, down)",
        ),
    ],
)
def test_unknown_key_is_told_the_names_of_its_level(
    options: dict[str, Any], field: str, message: str
) -> None:
    assert faults(options)[field] == message


def test_missing_key_is_reported_at_its_place() -> None:
    assert "points.0.down" in faults({"points": [{"across": 1}]})
    assert "sweep.T.stop" in faults({"sweep": {"T": {"start": 1}}})


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"sweep": {"t": [1]}}, {"sweep.t"}),
        ({"sweep": {"T": ["x"]}}, {"sweep.T.0"}),
        ({"sweep": {"T": 3}}, {"sweep.T"}),
        ({"free": {"a": "x"}}, {"free.a"}),
        ({"where": 3}, {"where"}),
        ({"lines": "x", "free": 1}, {"lines", "free"}),
    ],
)
def test_fault_names_no_alternative_of_a_union(options: dict[str, Any], fields: set[str]) -> None:
    assert set(faults(options)) == fields


def test_many_unknown_names_are_reported_without_suggestions_for_all() -> None:
    told = faults({f"lines{number}": 1 for number in range(MAX_SUGGESTIONS + 5)})
    assert len(told) == MAX_SUGGESTIONS + 5
    assert sum("did you mean" in message for message in told.values()) == MAX_SUGGESTIONS
    long = "lines" * MAX_SUGGESTION_LENGTH
    assert "did you mean" not in faults({long: 1})[long]


def test_error_message_replaces_the_messages_of_its_type_and_keeps_the_schema() -> None:
    assert faults({"where": "lower"})["where"]
    assert faults({"free": {"a": "TOOLONG"}})["free.a"]
    schema = TypeAdapter(Capitals).json_schema()
    assert schema == {"type": "string", "pattern": "^[A-Z]+$", "maxLength": 4}
    for value in ("lower", "TOOLONG", 3):
        with pytest.raises(ValueError, match="must be capitals"):
            TypeAdapter(Capitals).validate_python(value)


class Entry(BaseModel):
    name: str


class Lists(BaseModel):
    model_config = ConfigDict(extra="forbid")

    texts: list[str] = []
    either: str | list[str | int] | None = None
    entries: list[Entry] = Field(default=[], alias="json")
    by_name: dict[str, list[int]] = {}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"texts": [None] * 100_000}, "texts.0"),
        ({"texts": ["x"] * 5000 + [1] * 5000}, "texts.5000"),
        ({"either": [[]] * 100_000}, "either.0"),
        ({"json": [{"name": 1}] * 50_000}, "json.0.name"),
        ({"by_name": {"a": ["x"] * 9000, "b": [1]}}, "by_name.a.0"),
    ],
)
def test_a_long_list_is_left_at_its_first_fault(options: dict[str, Any], field: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidOptions) as refused:
            check_options(Lists, options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [each["field"] for each in refused.value.details["faults"]] == [field]
    assert peak < 5 << 20  # a kilobyte for each fault


def test_long_options_are_those_of_the_model() -> None:
    options = check_options(Lists, {"texts": ["x"] * 5000, "json": [{"name": "a"}]})
    assert isinstance(options, Lists)
    assert option_values(options) == {"texts": ["x"] * 5000, "json": [Entry(name="a")]}


def test_every_fault_of_a_short_list_is_reported() -> None:
    with pytest.raises(InvalidOptions) as refused:
        check_options(Lists, {"texts": [1, "x", 2]})
    assert [each["field"] for each in refused.value.details["faults"]] == ["texts.0", "texts.2"]
