"""Refusals of every action's options are sentences, without regular expressions."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from resop.actions.options import check_options
from resop.errors import InvalidOptions
from tests.unit.operators.test_scenarios import ACTIONS

UNWANTED = ("pattern", "Input should", "^", "\\", "should match")
BAD_TEXT = "-:\n\0"
"""A text that none of the shipped patterns matches."""

Schema = Mapping[str, Any]


def with_pattern(schema: Schema, node: Schema) -> Iterator[Any]:
    """Yield a bad value of the right shape for each pattern that a schema contains."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].removeprefix("#/$defs/")]
    for union in ("anyOf", "oneOf", "allOf"):
        for each in node.get(union, ()):
            yield from with_pattern(schema, each)
    if "pattern" in node:
        yield BAD_TEXT
    if "items" in node:
        yield from ([value] for value in with_pattern(schema, node["items"]))
    for member in node.get("patternProperties", {}).values():
        yield {BAD_TEXT: "x"}
        yield from ({"A": value} for value in with_pattern(schema, member))


CASES = [
    (name, option, value)
    for name, action in sorted(ACTIONS.items())
    for schema in [action.options.model_json_schema()]
    for option, node in schema.get("properties", {}).items()
    for value in with_pattern(schema, node)
]


def refusals(name: str, options: dict[str, Any], option: str) -> list[str]:
    """Return the messages about one option."""
    with pytest.raises(InvalidOptions) as refused:
        check_options(ACTIONS[name].options, options)
    faults = refused.value.details["faults"]
    return [each["message"] for each in faults if each["field"].partition(".")[0] == option]


def test_patterns_are_found_in_every_kind_of_option() -> None:
    options = {(name, option) for name, option, _ in CASES}
    assert len(options) > 150
    expected = [
        ("slurm/submit", "environment"),
        ("slurm/sweep", "items"),
        ("slurm/squeue", "jobs"),
        ("slurm/cancel", "jobs"),
        ("utils/find", "paths"),
        ("ldap/create_user", "mail"),
    ]
    assert options.issuperset(expected)


def test_value_that_no_pattern_matches_is_refused_with_a_sentence() -> None:
    for name, option, value in CASES:
        messages = refusals(name, {option: value}, option)
        assert messages, (name, option, value)
        for message in messages:
            assert not any(each in message for each in UNWANTED), message


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("slurm/submit", {"script": "echo"}, "interpreter line such as #!/bin/bash"),
        ("slurm/sbatchd", {"script": "echo"}, "interpreter line such as #!/bin/bash"),
        ("core/script", {"script": "echo"}, "interpreter line such as #!/bin/bash"),
        ("ldap/create_user", {"mail": "ada"}, "must be an address such as ada@hpc.example"),
        ("slurm/squeue", {"jobs": "all"}, "must be jobs separated by commas: 123, 123_4"),
        ("core/send_file", {"mode": "rw"}, "permissions as three octal digits"),
    ],
)
def test_refusal_says_what_is_expected(name: str, options: dict[str, Any], message: str) -> None:
    (option,) = options
    assert message in refusals(name, options, option)[0]


@pytest.mark.parametrize(
    ("name", "option"), [("slurm/history", "start"), ("slurm/report", "start")]
)
def test_time_is_refused_with_one_sentence(name: str, option: str) -> None:
    (message,) = refusals(name, {option: "last week"}, option)
    assert message.startswith("must be a")


def test_every_pattern_of_a_command_is_explained() -> None:
    unexplained = [
        f"{name}: {option}"
        for name, action in ACTIONS.items()
        if (entry := getattr(action, "entry", None))
        for option, each in entry.options.items()
        if each.pattern and not each.expects
    ]
    assert unexplained == []
