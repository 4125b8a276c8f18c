"""Translate Python's regular expressions for the OpenAPI document, whose readers run JavaScript.

JSON Schema takes its patterns from ECMA-262, where many tools set the flag `u`: with it, a
backslash before a character that needs none, or a brace that is no quantifier, is a syntax error.
"""

from __future__ import annotations

import re

_SYNTAX_CHARACTERS = "^$\\.*+?()[]{}|/"
_CLASS_LETTERS = "dDwWsSbBnrtfv0123456789xucpPk"
_ANCHORS = {"A": "^", "Z": "$", "z": "$"}
_CONTROL_CHARACTERS = {"a": r"\x07", "e": r"\x1b"}
_QUANTIFIER = re.compile(r"\{(\d*)(,?)(\d*)\}")
_GROUP = re.compile(r"\(\?P(<\w+>)|\(\?P=(\w+)\)")
_UNTRANSLATABLE = re.compile(r"\(\?(?:[aiLmsux-]+[):]|#|>|\()")
"""Inline flags, comments, atomic and conditional groups."""


def ecma_pattern(pattern: str) -> str | None:
    """Return the pattern as JavaScript reads it with the flag `u`; None if it has no equivalent."""
    if _UNTRANSLATABLE.search(pattern):
        return None
    translated, place, in_class = "", 0, False
    while place < len(pattern):
        text, size = _token(pattern, place, in_class)
        if pattern[place] == "[" and not in_class:
            in_class = True
        elif pattern[place] == "]":
            in_class = False
        translated, place = translated + text, place + size
    return translated


def _token(pattern: str, place: int, in_class: bool) -> tuple[str, int]:
    """Return the translation of the token at a place, and how many characters the token has."""
    character = pattern[place]
    if character == "\\":
        return _escape(pattern[place + 1 : place + 10], in_class)
    if in_class:
        return character, 1
    if character == "[":
        return _class_beginning(pattern, place)
    if character == "{" and (found := _QUANTIFIER.match(pattern, place)) and any(found.groups()):
        least, comma, most = found.groups()
        return f"{{{least or '0'}{comma}{most}}}", len(found[0])
    if character in "{}]":
        return f"\\{character}", 1
    if found := _GROUP.match(pattern, place):
        return (f"(?{found[1]}" if found[1] else f"\\k<{found[2]}>"), len(found[0])
    return character, 1


def _class_beginning(pattern: str, place: int) -> tuple[str, int]:
    """Return `[` or `[^`, with a `]` that comes first, which Python takes literally."""
    beginning = "[^" if pattern.startswith("[^", place) else "["
    size = len(beginning)
    if pattern.startswith("]", place + size):
        return beginning + r"\]", size + 1
    return beginning, size


def _escape(following: str, in_class: bool) -> tuple[str, int]:
    """Return an escape, without a backslash where none is needed; `following` comes after it."""
    character = following[:1]
    if character == "U":
        return f"\\u{{{following[1:9].lstrip('0') or '0'}}}", 10
    if character in _ANCHORS and not in_class:
        return _ANCHORS[character], 2
    if character in _CONTROL_CHARACTERS:
        return _CONTROL_CHARACTERS[character], 2
    needed = _SYNTAX_CHARACTERS + _CLASS_LETTERS + ("-" if in_class else "")
    return (f"\\{character}" if character in needed else character), 2
