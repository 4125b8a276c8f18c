"""scripts/prose.py: every rule finds what it is about, in every kind of file, and little else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.scripts import load_script

prose = load_script("prose")


def found(name: str, content: str) -> list[tuple[int, str]]:
    return [(each.line, each.match) for each in prose.check(name, content)]


@pytest.mark.parametrize("rule", prose.RULES, ids=lambda rule: rule.advice)
def test_rule_finds_its_bad_example_and_not_its_good_one(rule: Any) -> None:
    assert list(rule.find(rule.bad))
    assert not list(rule.find(rule.good))
    shown = {each.match for each in prose.check("README.md", f"{rule.bad}\n")}
    assert shown or rule.opening


@pytest.mark.parametrize("rule", prose.RULES, ids=lambda rule: rule.advice)
def test_every_alternative_of_a_rule_can_match(rule: Any) -> None:
    assert list(rule.find(rule.bad.upper())) or "(?-i:" in rule.pattern


PYTHON = '''"""Open the door."""
import logging  # by the gate

NAME = "door"
QUERY = "SELECT door FROM gates WHERE open"
FORMAT = f"{NAME}: the {NAME} was told of it"


def open_all(kind: str) -> str:
    """Whether it is open.

    A second line says more of the `door`, and

        a door in code

    of what is told.
    """
    raise ValueError(
        "the task was sealed with another key"
    )
'''


def test_docstrings_comments_and_messages_are_read_and_code_is_not() -> None:
    assert found("resop/x.py", PYTHON) == [
        (1, "door"),
        (2, "gate"),
        (6, "told"),
        (10, "Whether"),
        (16, "of what"),
        (16, "told"),
        (19, "sealed"),
    ]


def test_strings_of_tests_are_data() -> None:
    assert [line for line, _ in found("tests/x.py", PYTHON)] == [1, 2, 10, 16, 16]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("docs/x.md", "# Title\n\nThe door,\nand `a door`.\n\n    a door\n\n```\na door\n```\n"),
        ("config.env", "# Title.\n\n# The door.\n#DOOR=a door\n"),
        (
            "operators/x/commands.yml",
            "- command: door\n  options:\n    x: {description: the door}\n",
        ),
        ("api/pages/x.html", "<p\nclass='door'>\n{% if door %}the door{% endif %} {{ door }}\n"),
        ("scripts/x.sh", "#!/bin/sh\nx=door\n# The door.\n"),
        ("Makefile", "door:\n\tdoor\n# The door.\n"),
    ],
)
def test_texts_of_other_files_are_read_with_their_lines(name: str, content: str) -> None:
    assert found(name, content) == [(3, "door")]


@pytest.mark.parametrize(
    "text",
    [
        "Add a DNS record for the host.",
        "Record a heartbeat for the worker.",
        "The record writer has three columns.",
        "'*' stands for any text.",
        "Quote each word of the command line.",
        "It keeps the connection open, and keeps it alive.",
        "The connection is kept open.",
        "Deal with faults where they occur.",
        "Leave the file alone.",
        "It takes up to five seconds.",
        "Is there a task? There is one.",
        "Who may log in? What is stored where?",
        "A task whose worker died is recovered.",
        "Pages refresh every half second.",
        "An alleged investigation: the interlanes, sealant, outdoors.",
        "With so many as ten, so long as it runs.",
        "Results are kept for a day, in a folder of its own; that depends on the commit alone.",
        "The policy: who may do what.",
    ],
)
def test_words_in_their_right_sense_are_let_through(text: str) -> None:
    assert found("README.md", f"{text}\n") == []
