"""Error messages speak plain English: no regular expression, and none of pydantic's own wording."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from fastapi.routing import APIRoute
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, NaiveDatetime
from pydantic_core import PydanticCustomError, PydanticKnownError
from pydantic_core._pydantic_core import list_all_errors

from api.http.preferences import Preferences
from api.routes import batch_launch, batches, files, folders, service, task_events, task_list, tasks
from api.routes.task_list import Labels
from resop import Argument, FileMode, RemotePath, Secret, Username
from resop.actions.catalog import load_catalog
from resop.actions.command import CommandEntry
from resop.actions.options import check_options, option_names
from resop.actions.sweep import BatchBody
from resop.errors import InvalidOptions
from resop.pydantic_messages import validation_message

JARGON = re.compile(
    r"Input |String |should|Value error|value_error|Field required|Extra inputs|permitted|valid "
    r"|pattern|regular expression|\^|\\|\{\w*\}|Assertion|dictionary|boolean"
    r"|integer|timezone|instance"
)
HOSTILE: list[Any] = [
    *(None, True, 0, -1, 1.5, 10**30, -(10**30), float("nan"), float("inf"), 10**4000),
    *("", " ", "x", "-rf", "a\x00b", "\ud800", "a\nb", "x" * 140_000, "0", "-1", "é"),
    *("2026-11-29", "2026-11-29T12:00:00", "25:00", "https://", "user@", "#!", "9" * 5000),
    *([], [None], ["x"], [""], ["x"] * 300, [["x"]], [{}], [1.5]),
    *({}, {"x": 1}, {"x": {}}, {"a b": "x"}, {"": None}, {"start": "x"}, {"x": {"start": "x"}}),
    *({"x": ["x"]}, {"x": [[]]}, {"x": {"start": 1, "stop": 2, "step": 0, "end": 3}}),
]
CATALOG = list(load_catalog())
ROUTERS = (batch_launch, batches, files, folders, service, task_events, task_list, tasks)


def jargon(message: str) -> str | None:
    """Return the jargon in a message, but not in the name that a request used."""
    found = JARGON.search(re.sub(r"unknown \w+ '.*?' ?|'.*?'|\(options: .*\)", "", message))
    return found and found[0]


def faults(model: type[BaseModel], options: dict[str, Any]) -> list[dict[str, str]]:
    try:
        check_options(model, options)
    except InvalidOptions as refusal:
        faults: list[dict[str, str]] = refusal.details["faults"]
        return faults
    return []


def test_every_error_type_of_pydantic_has_a_plain_message() -> None:
    for known in list_all_errors():
        context: Any = known.get("example_context")
        error = PydanticKnownError(known["type"], context)
        message = validation_message(
            {"type": error.type, "msg": error.message(), "ctx": context or {}}
        )
        assert message and jargon(message) is None, known


@pytest.mark.slow
def test_no_option_of_any_action_answers_with_jargon() -> None:
    for action in CATALOG:
        for name in option_names(action.options):
            for value in HOSTILE:
                for fault in faults(action.options, {name: value}):
                    assert jargon(fault["message"]) is None, (action.title, name, fault)


@pytest.mark.parametrize("model", [BatchBody, Labels, Preferences, CommandEntry])
def test_no_other_model_answers_with_jargon(model: type[BaseModel]) -> None:
    for name in option_names(model):
        for value in HOSTILE:
            if name != "notify":  # its validator needs the hosts of the service
                for fault in faults(model, {name: value}):
                    assert jargon(fault["message"]) is None, (name, fault)


def parameters_of(dependant: Any) -> Iterator[Any]:
    yield from (*dependant.query_params, *dependant.header_params, *dependant.path_params)
    for each in dependant.dependencies:
        yield from parameters_of(each)


def parameters() -> Iterator[Any]:
    """Yield every parameter of a query, header or path that FastAPI validates."""
    for module in ROUTERS:
        for route in module.router.routes:
            if isinstance(route, APIRoute):
                yield from parameters_of(route.dependant)


def test_no_parameter_of_a_route_answers_with_jargon() -> None:
    for parameter in parameters():
        for value in HOSTILE:
            _, errors = parameter.validate(value, {}, loc=("query", parameter.alias))
            for error in errors or ():
                assert jargon(validation_message(error)) is None, error


class Range(BaseModel):
    model_config = ConfigDict(extra="forbid")

    start: int
    stop: int


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


def refuse(text: str) -> str:
    raise ValueError("must not be used")


def assert_short(text: str) -> str:
    if len(text) > 2:
        raise AssertionError("must be short")
    return text


def refuse_with_a_type(text: str) -> str:
    raise PydanticCustomError("mine", "must be another")


class Sample(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    limit: Annotated[int, Field(ge=1, le=500)] = 1
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.5
    lines: Annotated[list[str], Field(min_length=1, max_length=2)] = []
    word: Annotated[str, Field(min_length=2, max_length=3)] = "ab"
    form: Annotated[str, Field(pattern="^[a-z]+$")] = "a"
    flag: bool = False
    colour: Colour = Colour.RED
    mode: Literal["product", "zip"] = "zip"
    since: AwareDatetime | None = None
    local: NaiveDatetime | None = None
    day: date | None = None
    when: datetime | Literal["now"] | None = None
    values: list[int] | Range = []
    table: dict[str, list[int] | Range] = {}
    pair: tuple[int, str] = (1, "a")
    input: Argument | list[Argument] | None = None
    count: int | Literal["all"] = 1
    user: Username = "ada"
    permissions: FileMode = "0640"
    path: RemotePath = "a"
    password: Secret | None = None
    own: Annotated[str, AfterValidator(refuse)] = ""
    short: Annotated[str, AfterValidator(assert_short)] = ""
    custom: Annotated[str, AfterValidator(refuse_with_a_type)] = ""


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"limit": 501}, "limit", "must be at most 500"),
        ({"limit": 0}, "limit", "must be at least 1"),
        ({"limit": "x"}, "limit", "must be a whole number"),
        ({"limit": 1.5}, "limit", "must be a whole number"),
        ({"limit": None}, "limit", "must be a whole number"),
        ({"ratio": 1}, "ratio", "must be less than 1"),
        ({"ratio": 0}, "ratio", "must be more than 0"),
        ({"ratio": float("nan")}, "ratio", "must be a finite number"),
        ({"lines": []}, "lines", "must have at least 1 item"),
        ({"lines": ["a", "b", "c"]}, "lines", "must have at most 2 items"),
        ({"lines": "a"}, "lines", "must be a list"),
        ({"lines": ["a", 1]}, "lines.1", "must be text"),
        ({"word": "a"}, "word", "must have at least 2 characters"),
        ({"word": "abcd"}, "word", "must have at most 3 characters"),
        ({"form": "A"}, "form", "does not have the expected form"),
        ({"flag": "maybe"}, "flag", "must be true or false"),
        ({"colour": "green"}, "colour", "must be 'red' or 'blue'"),
        ({"mode": "sum"}, "mode", "must be 'product' or 'zip'"),
        ({"since": "2026-11-29"}, "since", "needs a time zone, such as 2026-11-29T12:00:00Z"),
        (
            {"since": "today"},
            "since",
            "must be a date and time, such as 2026-11-29T12:00:00Z",
        ),
        (
            {"local": "2026-11-29T12:00:00Z"},
            "local",
            "must not have a time zone: write it as 2026-11-29T12:00:00",
        ),
        ({"day": "29.11."}, "day", "must be a date, such as 2026-11-29"),
        (
            {"when": "later"},
            "when",
            "must be a date and time, such as 2026-11-29T12:00:00Z or 'now'",
        ),
        ({"values": 3}, "values", "must be a list or an object (names with values)"),
        ({"values": {"start": 1}}, "values.stop", "is required"),
        (
            {"values": {"start": 1, "stop": 2, "strat": 1}},
            "values.strat",
            "unknown option 'strat'; did you mean 'start'? (options: start, stop)",
        ),
        (
            {"table": {"T": {"start": 1, "stop": 2, "end": 3}}},
            "table.T.end",
            "unknown option 'end' (options: start, stop)",
        ),
        ({"table": {"T": {"start": "x", "stop": 2}}}, "table.T.start", "must be a whole number"),
        ({"pair": [1, 2]}, "pair.1", "must be text"),
        ({"input": 5}, "input", "must be text or a list"),
        ({"input": ["a", {}]}, "input.1", "must be text"),
        ({"input": "\x00"}, "input", "contains a NUL character, which no command line can carry"),
        ({"count": "x"}, "count", "must be a whole number or 'all'"),
        (
            {"user": "Ada"},
            "user",
            "must be a POSIX user name: up to 32 of a-z, 0-9, '_', '.' and '-', "
            "beginning with a letter or '_'",
        ),
        (
            {"permissions": "rwx"},
            "permissions",
            "must be permissions as three octal digits, such as 0640",
        ),
        ({"path": ""}, "path", "must be a path on the cluster: 1 to 4096 characters"),
        ({"password": 5}, "password", "must be text"),
        ({"own": "x"}, "own", "must not be used"),
        ({"short": "long"}, "short", "must be short"),
        ({"custom": "x"}, "custom", "must be another"),
    ],
)
def test_message_says_what_is_expected(options: dict[str, Any], field: str, message: str) -> None:
    assert faults(Sample, options) == [{"field": field, "message": message}]


def test_unknown_option_names_the_nearest_and_all_of_its_level() -> None:
    (fault,) = faults(Sample, {"lins": 1})
    assert fault["field"] == "lins"
    assert fault["message"].startswith(
        "unknown option 'lins'; did you mean 'lines'? (options: limit, ratio, lines, word, "
    )
    assert faults(Range, {"start": 1}) == [{"field": "stop", "message": "is required"}]


def test_message_never_repeats_the_value() -> None:
    for name in Sample.model_fields:
        for value in ("hunter2", ["hunter2"], {"x": "hunter2"}):
            for fault in faults(Sample, {name: value}):
                assert "hunter2" not in fault["message"]
