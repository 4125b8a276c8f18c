"""Text from outside is shown on one line, as ASCII, and no spreadsheet calculates it."""

import random

import pytest

from resop.plain_text import inert_cell, one_line, shorten
from tests.support.hostile_text import HOSTILE_PARTS, hostile_text


def test_text_of_any_kind_becomes_one_line_of_printable_ascii() -> None:
    for seed in range(500):
        shown = one_line(hostile_text(random.Random(seed)))
        assert shown.isascii() and shown.isprintable()
        assert len(shown.splitlines()) <= 1


def test_plain_text_stays_as_it_is() -> None:
    assert one_line("alice@hpc -> /home/alice") == "alice@hpc -> /home/alice"
    assert one_line("ali\u00adce") == "ali\\xadce"


@pytest.mark.parametrize("part", HOSTILE_PARTS)
def test_two_texts_that_look_alike_are_shown_differently(part: str) -> None:
    assert one_line(f"ali{part}ce") != one_line("alice")


def test_long_text_says_how_long_it_was() -> None:
    assert shorten("x" * 600, 512) == f"{'x' * 512}… (600 characters)"
    assert shorten("x" * 512, 512) == "x" * 512


@pytest.mark.parametrize(
    "formula",
    [
        "=1+1",
        "+1+1",
        "-1+1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "＝1+1",
        "-cmd|' /C calc'!A0",
    ],
)
def test_formula_is_quoted(formula: str) -> None:
    assert inert_cell(formula) == f"'{formula}"


@pytest.mark.parametrize(
    "value", ["-5", "+1.5", "1e-3", "-1.5E+3", "text", "a=b", "", 3, None, True]
)
def test_numbers_and_other_texts_stay(value: object) -> None:
    assert inert_cell(value) == value
