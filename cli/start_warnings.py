"""Find the warnings that a service wrote to its log when it started."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

SUBJECTS = ("weak configuration: ", "operators: ")
"""How the warnings begin that concern the person who starts the service."""
_PLAIN = re.compile(r"\S+ WARNING \S+ (.+)")


def start_warnings(log: Path, since: int) -> Iterator[str]:
    """Yield each such warning once, from the log's lines after `since` bytes."""
    with log.open("rb") as stream:
        stream.seek(since)
        lines = stream.read().decode("utf-8", "replace").splitlines()
    for message in dict.fromkeys(map(_warning, lines)):
        if message.startswith(SUBJECTS):
            yield message


def _warning(line: str) -> str:
    """Return the message of a warning in either format of the log, else an empty text."""
    if found := _PLAIN.match(line):
        return found[1]
    try:
        entry = json.loads(line)
    except ValueError:
        return ""
    is_warning = isinstance(entry, dict) and entry.get("level") == "WARNING"
    return str(entry.get("event", "")) if is_warning else ""
