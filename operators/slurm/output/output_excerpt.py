"""Read a part of a job's output file: from an offset, its last bytes, or its last lines.

However large the file is, no more than a MiB of it is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

MAX_LINES = 10_000
WINDOW = 1 << 20
"""Bytes from the end in which the lines are looked for."""
FILE_MISSING = 44
"""The exit code of both scripts if none of the files exists."""

# Prints the number of the first file that exists and its size, then a part of it in base64.
READ_SCRIPT = f"""\
from=$1 limit=$2 number=0
shift 2
for file; do test -f "$file" && break; number=$((number + 1)); done
test -f "$file" || exit {FILE_MISSING}
size=$(wc -c <"$file") || exit
echo $number $size
tail -c "+$((from + 1))" <"$file" | head -c "$limit" | base64
"""
# The same for the end of the file; what is appended meanwhile is left for the next call.
TAIL_SCRIPT = f"""\
window=$1 lines=$2 number=0
shift 2
for file; do test -f "$file" && break; number=$((number + 1)); done
test -f "$file" || exit {FILE_MISSING}
size=$(wc -c <"$file") || exit
start=$((size > window ? size - window : 0))
echo $number $size
tail -c "+$((start + 1))" <"$file" | head -c "$((size - start))" | tail -n "$lines" | base64
"""

_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
# What a progress bar has overwritten: all before the last carriage return within a line.
_OVERWRITTEN = re.compile(rb"[^\n]*\r(?=[^\r\n])")
# The rest of a character of UTF-8 whose beginning was cut off.
_CONTINUATION = re.compile(rb"[\x80-\xbf]{0,3}")


class Selection(NamedTuple):
    """Bytes of a file."""

    content: bytes
    start: int
    """Where in the file the first of them is."""
    end: int
    """Where the next byte is; what a progress bar has overwritten may be left out before."""


@dataclass(frozen=True)
class Excerpt:
    """The part of a file that a request asks for."""

    offset: int
    """Where it starts, in bytes; negative: from the end of the file."""
    limit: int
    lines: int | None = None
    """The number of lines to read from the end of the file, instead of from an offset."""

    def command(self) -> tuple[str, str, str]:
        """Return the script that reads it, with its two arguments; the files follow."""
        if self.lines is not None:
            return TAIL_SCRIPT, str(WINDOW), str(self.lines)
        if self.offset < 0:
            return TAIL_SCRIPT, str(-self.offset), str(-self.offset)
        return READ_SCRIPT, str(self.offset), str(self.limit)

    def select(self, content: bytes, size: int) -> Selection:
        """Return what to show of the bytes that the script read of a file of `size` bytes."""
        if self.lines is None and self.offset >= 0:
            start = min(self.offset, size)  # a requeued job starts its file again
            return Selection(content, start, start + len(content))
        is_cut = len(content) in (WINDOW, -self.offset) and len(content) < size
        content = _from_character(content) if is_cut else content
        start = size - len(content)
        if self.lines is None:
            content = content[: self.limit]
            return Selection(content, start, start + len(content))
        shown, before = last_lines(content, self.limit)
        return Selection(shown, start + before, size)


def last_lines(content: bytes, limit: int) -> tuple[bytes, int]:
    """Return the end of `content` as a terminal shows it, and how many bytes precede that.

    At most `limit` bytes: as many whole lines as fit, or the end of the last line. Of a line in
    which a progress bar was redrawn, only the last state is shown.
    """
    shown: list[bytes] = []
    room, start = limit, len(content)
    for found in reversed([*_LINE.finditer(content)]):
        line, overwritten = found[0], _OVERWRITTEN.match(found[0])
        line = line[overwritten.end() :] if overwritten else line
        if len(line) > room and shown:
            break
        line = _from_character(line[-room:]) if len(line) > room else line
        shown.append(line)
        room -= len(line)
        start = found.end() - len(line)
    return b"".join(reversed(shown)), start


def _from_character(text: bytes) -> bytes:
    found = _CONTINUATION.match(text)
    return text[found.end() :] if found else text
