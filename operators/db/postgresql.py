"""PostgreSQL by psql 11 and newer, which cannot bind values itself before release 16.

Values and statements are literals such as `U&'o\\+000027hara'` (section 4.1.2.3 of its manual):
what could end one, or be a command of psql's own (`\\!`), is its number there.
"""

from __future__ import annotations

import re

from operators.db.statement import (
    SECONDS,
    Ask,
    Parts,
    Row,
    Server,
    Statement,
    Value,
    listed,
    plain,
    text_of,
)

NAME = "PostgreSQL"
PORT = 5432
PASSWORD = "PGPASSWORD"  # noqa: S105
AWAY = re.compile(
    r"^psql: .*(could not translate host name|Connection refused|timeout expired|timed out|"
    r"No route to host|unreachable|reset by peer|No such file|server closed|"
    r"FATAL: +(the database system is|sorry, too many))",
    re.MULTILINE,
)
LOST = re.compile("server closed the connection|terminating connection|connection .*was lost")
# Where it stands is told of the text that `_prepared` made, which is not the caller's.
FAULT = re.compile(r"(?:ERROR|FATAL): +(.*?)(?: at character \d+)?$", re.MULTILINE)

_FLAGS = (
    *("psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only"),
    # Terse, since the details of a fault may show a whole row, the hash of a password included.
    *("--set=ON_ERROR_STOP=1", "--set=VERBOSITY=terse"),
)
_SET_UP = f"""\
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET TIME ZONE 'UTC';
SET statement_timeout = '{SECONDS}s';
"""
_OTHER = re.compile(r"[^ -~]|[\\'$]")


def mark(number: int) -> str:
    """The mark of the value of that number, from 1."""
    return f"${number}"


def quoted(name: str) -> str:
    """A name, quoted."""
    return f'"{name}"'


def client(server: Server) -> list[str]:
    """The command line of psql."""
    where = (f"--host={server.host}", f"--port={server.port}", f"--dbname={server.database}")
    return [*_FLAGS, *where, f"--username={server.user}", "--no-password"]


def read(ask: Ask, statement: Statement, limit: int) -> list[Row]:
    """At most `limit` rows as JSON values; what would change anything is refused."""
    # A line break, since a statement may end with a comment.
    sql = (
        f"WITH resop AS ({statement.sql}\n) SELECT coalesce(json_agg(resop), '[]') "  # noqa: S608 # nosec B608 # the caller's own statement, values bound
        f"FROM (SELECT * FROM resop LIMIT {limit}) resop"
    )
    script = [_SET_UP, "BEGIN READ ONLY;\n", *_prepared(sql, statement), "ROLLBACK;\n"]
    rows: list[Row] = ask((), script).json()
    return rows


def change(statement: Statement) -> Parts:
    """The SQL that makes a change, and prints last how many rows it has changed."""
    made = _prepared(statement.sql, statement)
    return [_SET_UP, "BEGIN;\n", *made, "COMMIT;\n", "\\echo :changed\n"]


def _prepared(sql: str, statement: Statement) -> Parts:
    """The server itself puts the statement together, and infers the types of its values.

    Inside of DO a transaction can neither be ended nor begin to write.
    """
    prepare = f"DO $resop$BEGIN EXECUTE {_literal(f'PREPARE resop AS {sql}')}; END$resop$;\n"
    values = ["(", *listed(statement.values, _literal), ")"] if statement.values else []
    return [prepare, "EXECUTE resop", *values, ";\n", "\\set changed :ROW_COUNT\n"]


def _literal(value: Value) -> str:
    return plain(value) or f"U&'{_OTHER.sub(_numbered, text_of(value))}'"


def _numbered(character: re.Match[str]) -> str:
    return f"\\+{ord(character[0]):06x}"
