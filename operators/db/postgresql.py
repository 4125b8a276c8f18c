"""Use PostgreSQL through psql 11 and newer, which cannot bind values before release 16.

Values and statements are literals such as `U&'o\\+000027hara'` (section 4.1.2.3 of its manual):
characters that could end a literal, or start a command of psql (`\\!`), are written as numbers.
"""

from __future__ import annotations

import re

from operators.db.statement import (
    STATEMENT_TIMEOUT,
    DatabaseServer,
    InputParts,
    QueryRow,
    RunClient,
    SqlValue,
    Statement,
    join_literals,
    plain_literal,
    text_value,
)

PRODUCT = "PostgreSQL"
DEFAULT_PORT = 5432
PASSWORD_VARIABLE = "PGPASSWORD"  # noqa: S105
UNREACHABLE = re.compile(
    r"^psql: .*(could not translate host name|Connection refused|timeout expired|timed out|"
    r"No route to host|unreachable|reset by peer|No such file|server closed|"
    r"FATAL: +(the database system is|sorry, too many))",
    re.MULTILINE,
)
CONNECTION_LOST = re.compile(
    "server closed the connection|terminating connection|connection .*was lost"
)
# The character's position is dropped: it refers to the statement that _prepare_and_execute wraps.
ERROR_TEXT = re.compile(r"(?:ERROR|FATAL): +(.*?)(?: at character \d+)?$", re.MULTILINE)

_FLAGS = (
    *("psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only"),
    # Terse, since an error's details may show a whole row, including a password's hash.
    *("--set=ON_ERROR_STOP=1", "--set=VERBOSITY=terse"),
)
_SETUP = f"""\
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET TIME ZONE 'UTC';
SET statement_timeout = '{STATEMENT_TIMEOUT}s';
"""
_ESCAPED_CHARACTERS = re.compile(r"[^ -~]|[\\'$]")


def placeholder(number: int) -> str:
    """Return the placeholder of a value, numbered from 1."""
    return f"${number}"


def quote_name(name: str) -> str:
    """Quote a name."""
    return f'"{name}"'


def command_line(server: DatabaseServer) -> list[str]:
    """Return the command line of psql."""
    address = (f"--host={server.host}", f"--port={server.port}", f"--dbname={server.database}")
    return [*_FLAGS, *address, f"--username={server.user}", "--no-password"]


def read(ask: RunClient, statement: Statement, limit: int) -> list[QueryRow]:
    """Return at most `limit` rows as JSON values, in a read-only transaction."""
    # A line break, since the statement may end with a comment.
    sql = (
        f"WITH resop AS ({statement.sql}\n) SELECT coalesce(json_agg(resop), '[]') "  # noqa: S608 # nosec B608 # the caller's own statement, values bound
        f"FROM (SELECT * FROM resop LIMIT {limit}) resop"
    )
    script = [_SETUP, "BEGIN READ ONLY;\n", *_prepare_and_execute(sql, statement), "ROLLBACK;\n"]
    rows: list[QueryRow] = ask((), script).json()
    return rows


def change(statement: Statement) -> InputParts:
    """Return SQL that makes a change, and prints the number of changed rows last."""
    execution = _prepare_and_execute(statement.sql, statement)
    return [_SETUP, "BEGIN;\n", *execution, "COMMIT;\n", "\\echo :changed\n"]


def check(statement: Statement) -> InputParts:
    """Return SQL that has the server check the names and rights of a statement, and not run it."""
    return [
        *(_SETUP, "BEGIN READ ONLY;\n", _prepare(statement.sql)),
        *("EXPLAIN EXECUTE resop", *_values(statement), ";\n", "ROLLBACK;\n"),
    ]


def _prepare_and_execute(sql: str, statement: Statement) -> InputParts:
    """Return SQL that prepares and executes a statement with the values of another."""
    execute = ["EXECUTE resop", *_values(statement), ";\n"]
    return [_prepare(sql), *execute, "\\set changed :ROW_COUNT\n"]


def _prepare(sql: str) -> str:
    """Return SQL that has the server prepare a statement, which infers its values' types.

    Inside DO, a statement can neither end the transaction nor make it writable.
    """
    return f"DO $resop$BEGIN EXECUTE {_literal(f'PREPARE resop AS {sql}')}; END$resop$;\n"


def _values(statement: Statement) -> InputParts:
    return ["(", *join_literals(statement.values, _literal), ")"] if statement.values else []


def _literal(value: SqlValue) -> str:
    return plain_literal(value) or f"U&'{_ESCAPED_CHARACTERS.sub(_escape, text_value(value))}'"


def _escape(character: re.Match[str]) -> str:
    return f"\\+{ord(character[0]):06x}"
