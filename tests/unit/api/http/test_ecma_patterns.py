"""Patterns of options, as JavaScript reads them."""

from api.http.ecma_patterns import ecma_pattern

CASES = {
    r"^[^\x00-\x1f\x7f\"'`]+$": r"^[^\x00-\x1f\x7f" + "\"'`]+$",
    r"^\#!\ ?/": "^#! ?/",
    r"[\w\-.]+\-x": r"[\w\-.]+-x",
    r"\A[a-z]+\Z": "^[a-z]+$",
    r"(?P<day>\d+)-(?P=day)": r"(?<day>\d+)-\k<day>",
    r"a{,3}b{2,}c{2}": "a{0,3}b{2,}c{2}",
    r"{{x}}": r"\{\{x\}\}",
    r"]": r"\]",
    r"[]x]": r"[\]x]",
    r"[^]x]": r"[^\]x]",
    r"[[{}]": "[[{}]",
    r"\U0001F600": r"\u{1F600}",
    r"\.\/\\\(\$": r"\.\/\\\(\$",
    r"\a": r"\x07",
    "": "",
}


def test_patterns_are_valid_with_the_flag_u() -> None:
    for pattern, wanted in CASES.items():
        assert ecma_pattern(pattern) == wanted, pattern


def test_a_pattern_without_equivalent_is_left_out() -> None:
    for pattern in (r"(?i)abc", r"(?i:abc)", r"(?#comment)a", r"(?>a)b"):
        assert ecma_pattern(pattern) is None, pattern
