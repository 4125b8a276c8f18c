"""A statement and the values bound to it; how an engine's client is asked to run it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from resop import Result, Secret

Value = str | int | float | bool | Secret | None
Parts = list[str | Secret]
"""A text in several parts; the secret ones are hidden where the text is shown."""
Row = dict[str, Any]
Ask = Callable[[Sequence[str], Parts], Result]
"""Run the engine's client, with further flags and a text of SQL; raises where it fails."""

SECONDS = 50
"""Time limit of a statement at the server: a client that is ended first would leave it running."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of SQL, its values where the engine has its marks ($1, $2 or ?, ?)."""

    sql: str
    values: Sequence[Value] = ()


@dataclass(frozen=True, slots=True)
class Server:
    """Where the database is, seen from the login node, and as whom it is used."""

    host: str
    port: int
    database: str
    user: str


class Engine(Protocol):
    """What an engine's module has."""

    NAME: str
    PORT: int
    PASSWORD: str
    """The environment variable that its client takes the password from."""
    AWAY: re.Pattern[str]
    """What its client says when it did not come as far as a statement."""
    LOST: re.Pattern[str]
    """... when the server went while it was at work."""
    FAULT: re.Pattern[str]
    """... when a statement failed; the group is the reason."""

    def mark(self, number: int) -> str:
        """The mark of the value of that number, from 1."""

    def quoted(self, name: str) -> str:
        """A name of letters, digits and '_', quoted."""

    def client(self, server: Server) -> list[str]:
        """The command line of its client."""

    def read(self, ask: Ask, statement: Statement, limit: int) -> list[Row]:
        """At most `limit` rows as JSON values; what would change anything is refused."""

    def change(self, statement: Statement) -> Parts:
        """The SQL that makes a change, and prints last how many rows it has changed."""


def listed(values: Sequence[Value], literal: Callable[[Value], str]) -> Parts:
    """Values as literals with commas between."""
    parts: Parts = []
    for value in values:
        text = literal(value)
        parts += [Secret(text) if isinstance(value, Secret) else text, ", "]
    return parts[:-1]


def plain(value: Value) -> str | None:
    """What is the same in every engine: numbers, true, false, null; None for a text."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return repr(value) if isinstance(value, int | float) else None


def text_of(value: Value) -> str:
    """The text of a value that is one."""
    return value.get_secret_value() if isinstance(value, Secret) else str(value)
