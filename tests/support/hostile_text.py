"""Texts that try to forge a line of a log, move a cursor, or look like another text."""

import random

FORGED_LINE = "2026-11-24T10:00:00.123Z INFO api request method=GET path=/ status=200 user=root"
HOSTILE_PARTS = [
    *("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"),
    *("\0", "\b", "\x1b[2J", "\x1b]0;title\a", "\x9b2J", "\x7f"),  # control characters, ANSI
    *("\u202e", "\u202d", "\u2066", "\u2069", "\u200f", "\u061c"),  # bidirectional controls
    *("\u00ad", "\u200b", "\u2060", "\ufe00", "\u180b", "\u3164", "\u2800"),  # invisible
    *("ａ", "а", "\u0301", "\ud800", "\U000e0041"),  # alike, combining, surrogates, tags
]


def hostile_text(chance: random.Random) -> str:
    """Return a text of such parts, forged lines, quotes and ordinary characters."""
    ordinary = [
        "alice",
        " ",
        '"',
        "\\",
        "=",
        "%s",
        "%(name)s",
        "{}",
        FORGED_LINE,
        '{"level":"INFO"}',
    ]
    return "".join(chance.choices(HOSTILE_PARTS + ordinary, k=chance.randint(1, 12)))
