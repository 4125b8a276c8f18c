"""Text from outside made harmless where it is shown: in a line of a log, on a terminal, in a cell.

User names, paths, file names, request ids and remote output are such texts. A line break in one of
them could begin a forged line, an escape sequence or a bidirectional control could hide what is
beside it, and an invisible character could make two names look alike.
"""

from __future__ import annotations

import re
from typing import Any

FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")
"""Characters that make a spreadsheet calculate a cell."""
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def one_line(text: str) -> str:
    """Return text as printable ASCII; any other character is escaped as in a Python string."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        each if " " <= each <= "~" else each.encode("unicode_escape").decode() for each in text
    )


def shorten(text: str, limit: int) -> str:
    """Return text with at most `limit` of its characters, and a note of how many it had."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def inert_cell(value: Any) -> Any:
    """Quote text that a spreadsheet would calculate; numbers, a single '-' and the like stay."""
    if not isinstance(value, str) or value == "-" or _NUMBER.fullmatch(value):
        return value
    return f"'{value}" if value.lstrip(" \xa0").startswith(FORMULA_STARTS) else value
