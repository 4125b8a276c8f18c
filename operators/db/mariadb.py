"""Use MariaDB 10.3 and newer through its own client.

Values and statements reach the client as hexadecimal digits, `_utf8mb4 X'27'`: nothing in them can
be taken for SQL, or for a command of the client (`\\!`). EXECUTE IMMEDIATE … USING binds the
values, and accepts one statement only.
"""

from __future__ import annotations

import html
import re
from typing import Any

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
from resop import CommandFailed

PRODUCT = "MariaDB"
DEFAULT_PORT = 3306
PASSWORD_VARIABLE = "MYSQL_PWD"  # noqa: S105
UNREACHABLE = re.compile(
    r"^ERROR (2002|2003|2005|1040|1053) |^ERROR 2013 .*(initial communication|authorization)",
    re.MULTILINE,
)
CONNECTION_LOST = re.compile("^ERROR (2006|2013|1927) ", re.MULTILINE)
ERROR_TEXT = re.compile(r"ERROR \d+ .*?: (.*)")

_FLAGS = (
    *("mariadb", "--no-defaults", "--protocol=TCP", "--connect-timeout=10"),
    "--default-character-set=utf8mb4",
)
# For the session, since DDL would end a read-only transaction.
_READ_SETUP = """\
SET time_zone = '+00:00', max_statement_time = {seconds}, sql_select_limit = {limit};
SET SESSION TRANSACTION READ ONLY;
"""
_CHANGE_SETUP = f"SET time_zone = '+00:00', max_statement_time = {STATEMENT_TIMEOUT};\n"
_COLUMN_TYPE = re.compile(r"^Type: +(\w+)\n(?:Collation: .*\n)?Length: +(\d+)$", re.MULTILINE)
_XML_ROW = re.compile("<row>(.*?)</row>", re.DOTALL)
_XML_FIELD = re.compile('<field name="([^"]*)"(?: xsi:nil="true" />|>([^<]*)</field>)')

_INTEGERS = ("TINY", "SHORT", "INT24", "LONG", "LONGLONG", "YEAR")
_NUMBERS = ("FLOAT", "DOUBLE", "DECIMAL", "NEWDECIMAL")


def placeholder(number: int) -> str:
    """Return the placeholder, the same for every value."""
    return "?"


def quote_name(name: str) -> str:
    """Quote a name."""
    return f"`{name}`"


def command_line(server: DatabaseServer) -> list[str]:
    """Return the command line of mariadb."""
    address = (f"--host={server.host}", f"--port={server.port}", f"--database={server.database}")
    return [*_FLAGS, *address, f"--user={server.user}"]


def read(ask: RunClient, statement: Statement, limit: int) -> list[QueryRow]:
    """Return at most `limit` rows as JSON values, in a read-only transaction.

    The client runs twice: one format shows the types, another distinguishes null from 'NULL'.
    """
    described = ask(("--table", "--column-type-info"), _read_script(statement, 0)).stdout
    types = [(name, int(length)) for name, length in _COLUMN_TYPE.findall(described)]
    answer = ask(("--xml",), _read_script(statement, limit))
    return [_parse_row(row, types) for row in _XML_ROW.findall(answer.stdout)][:limit]


def change(statement: Statement) -> InputParts:
    """Return SQL that makes a change, and prints the number of changed rows last."""
    execution = _execute(statement)
    count = "SELECT ROW_COUNT() INTO @changed;\nCOMMIT;\nSELECT @changed;\n"
    return [_CHANGE_SETUP, "START TRANSACTION;\n", *execution, count]


def check(statement: Statement) -> InputParts:
    """Return SQL that has the server check the names and rights of a statement, and not run it.

    It is prepared outside of a read-only transaction, which would refuse to prepare a change.
    """
    prepare = f"PREPARE resop FROM {_literal(statement.sql)};\n"
    return [_CHANGE_SETUP, prepare, "DEALLOCATE PREPARE resop;\n"]


def _read_script(statement: Statement, limit: int) -> InputParts:
    return [_READ_SETUP.format(seconds=STATEMENT_TIMEOUT, limit=limit), *_execute(statement)]


def _execute(statement: Statement) -> InputParts:
    using = [" USING ", *join_literals(statement.values, _literal)] if statement.values else []
    return [f"EXECUTE IMMEDIATE {_literal(statement.sql)}", *using, ";\n"]


def _literal(value: SqlValue) -> str:
    return plain_literal(value) or f"_utf8mb4 X'{text_value(value).encode().hex()}'"


def _parse_row(row: str, types: list[tuple[str, int]]) -> QueryRow:
    """Parse a `<row>` of --xml, in which `<`, `>`, `&` and `"` are escaped."""
    fields = list(_XML_FIELD.finditer(row))
    if len(fields) != len(types):
        raise CommandFailed(f"mariadb: expected {len(types)} columns, got {len(fields)}")
    return {
        html.unescape(field[1]): None
        if field[2] is None
        else _parse_value(html.unescape(field[2]), *kind)
        for field, kind in zip(fields, types, strict=True)
    }


def _parse_value(text: str, kind: str, length: int) -> Any:
    """Convert a text to its column's JSON value; tinyint(1) is MariaDB's boolean."""
    if kind == "TINY" and length == 1:
        return text != "0"
    if kind in _INTEGERS:
        return int(text)
    if kind in _NUMBERS:
        return float(text)
    if kind == "TIMESTAMP":
        return text.replace(" ", "T") + "+00:00"
    return text.replace(" ", "T") if kind == "DATETIME" else text
