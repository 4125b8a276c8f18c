"""SQL statements with bound values, and the interface to a database's command-line client."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from resop import Result, Secret

SqlValue = str | int | float | bool | Secret | None
InputParts = list[str | Secret]
"""A text in several parts; secret parts are masked wherever the text is displayed."""
QueryRow = dict[str, Any]
RunClient = Callable[[Sequence[str], InputParts], Result]
"""Runs the client with extra flags and SQL on standard input; raises if it fails."""

STATEMENT_TIMEOUT = 50
"""Seconds the server gives a statement; less than the client, whose end would not stop it."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL statement and the values of its placeholders ($1, $2 or ?, ?)."""

    sql: str
    values: Sequence[SqlValue] = ()


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """A database's address as seen from the login node, and its user."""

    host: str
    port: int
    database: str
    user: str


class DatabaseClient(Protocol):
    """The interface of the modules for PostgreSQL and MariaDB."""

    PRODUCT: str
    DEFAULT_PORT: int
    PASSWORD_VARIABLE: str
    """The environment variable from which the client reads the password."""
    UNREACHABLE: re.Pattern[str]
    """Matches the client's message if no statement was sent."""
    CONNECTION_LOST: re.Pattern[str]
    """Matches the client's message if the connection broke during a statement."""
    ERROR_TEXT: re.Pattern[str]
    """Matches the client's message if a statement failed; the group is the reason."""

    def placeholder(self, number: int) -> str:
        """Return the placeholder of a value, numbered from 1."""

    def quote_name(self, name: str) -> str:
        """Quote a name of letters, digits and '_'."""

    def command_line(self, server: DatabaseServer) -> list[str]:
        """Return the client's command line."""

    def read(self, ask: RunClient, statement: Statement, limit: int) -> list[QueryRow]:
        """Return at most `limit` rows as JSON values, in a read-only transaction."""

    def change(self, statement: Statement) -> InputParts:
        """Return SQL that makes a change, and prints the number of changed rows last."""

    def check(self, statement: Statement) -> InputParts:
        """Return SQL that has the server check a statement, and not run it."""


def join_literals(values: Sequence[SqlValue], literal: Callable[[SqlValue], str]) -> InputParts:
    """Join the values' literals with commas."""
    parts: InputParts = []
    for value in values:
        text = literal(value)
        parts += [Secret(text) if isinstance(value, Secret) else text, ", "]
    return parts[:-1]


def plain_literal(value: SqlValue) -> str | None:
    """Return the literal of a number, a boolean or null; None for a text."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return repr(value) if isinstance(value, int | float) else None


def text_value(value: SqlValue) -> str:
    """Return the value as text."""
    return value.get_secret_value() if isinstance(value, Secret) else str(value)
