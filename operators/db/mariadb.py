"""MariaDB 10.3 and newer by its own client.

The client reads hexadecimal digits alone, `_utf8mb4 X'27'`: nothing in a value or a statement can
be taken for SQL, or for a command of the client's own (`\\!`). EXECUTE IMMEDIATE … USING binds the
values, and takes one statement only.
"""

from __future__ import annotations

import html
import re
from typing import Any

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
from resop import CommandFailed

NAME = "MariaDB"
PORT = 3306
PASSWORD = "MYSQL_PWD"  # noqa: S105
AWAY = re.compile(
    r"^ERROR (2002|2003|2005|1040|1053) |^ERROR 2013 .*(initial communication|authorization)",
    re.MULTILINE,
)
LOST = re.compile("^ERROR (2006|2013|1927) ", re.MULTILINE)
FAULT = re.compile(r"ERROR \d+ .*?: (.*)")

_FLAGS = (
    *("mariadb", "--no-defaults", "--protocol=TCP", "--connect-timeout=10"),
    "--default-character-set=utf8mb4",
)
# Of the session, since DDL would end a transaction that is read-only.
_READ = """\
SET time_zone = '+00:00', max_statement_time = {seconds}, sql_select_limit = {limit};
SET SESSION TRANSACTION READ ONLY;
"""
_CHANGE = f"SET time_zone = '+00:00', max_statement_time = {SECONDS};\n"
_TYPE = re.compile(r"^Type: +(\w+)\n(?:Collation: .*\n)?Length: +(\d+)$", re.MULTILINE)
_ROW = re.compile("<row>(.*?)</row>", re.DOTALL)
_FIELD = re.compile('<field name="([^"]*)"(?: xsi:nil="true" />|>([^<]*)</field>)')

_INTEGERS = ("TINY", "SHORT", "INT24", "LONG", "LONGLONG", "YEAR")
_NUMBERS = ("FLOAT", "DOUBLE", "DECIMAL", "NEWDECIMAL")


def mark(number: int) -> str:
    """The mark of every value."""
    return "?"


def quoted(name: str) -> str:
    """A name, quoted."""
    return f"`{name}`"


def client(server: Server) -> list[str]:
    """The command line of mariadb."""
    where = (f"--host={server.host}", f"--port={server.port}", f"--database={server.database}")
    return [*_FLAGS, *where, f"--user={server.user}"]


def read(ask: Ask, statement: Statement, limit: int) -> list[Row]:
    """At most `limit` rows as JSON values; what would change anything is refused.

    The client tells types in one form, and a null from 'NULL' in another: it is asked twice.
    """
    described = ask(("--table", "--column-type-info"), _question(statement, 0)).stdout
    types = [(name, int(length)) for name, length in _TYPE.findall(described)]
    answer = ask(("--xml",), _question(statement, limit))
    return [_row(row, types) for row in _ROW.findall(answer.stdout)][:limit]


def change(statement: Statement) -> Parts:
    """The SQL that makes a change, and prints last how many rows it has changed."""
    made = _immediate(statement)
    counted = "SELECT ROW_COUNT() INTO @changed;\nCOMMIT;\nSELECT @changed;\n"
    return [_CHANGE, "START TRANSACTION;\n", *made, counted]


def _question(statement: Statement, limit: int) -> Parts:
    return [_READ.format(seconds=SECONDS, limit=limit), *_immediate(statement)]


def _immediate(statement: Statement) -> Parts:
    using = [" USING ", *listed(statement.values, _literal)] if statement.values else []
    return [f"EXECUTE IMMEDIATE {_literal(statement.sql)}", *using, ";\n"]


def _literal(value: Value) -> str:
    return plain(value) or f"_utf8mb4 X'{text_of(value).encode().hex()}'"


def _row(row: str, types: list[tuple[str, int]]) -> Row:
    """`<row>` of the client's --xml, which escapes `<`, `>`, `&` and `"`."""
    fields = list(_FIELD.finditer(row))
    if len(fields) != len(types):
        raise CommandFailed(f"mariadb: {len(types)} columns were told, {len(fields)} came")
    return {
        html.unescape(field[1]): None
        if field[2] is None
        else _value(html.unescape(field[2]), *kind)
        for field, kind in zip(fields, types, strict=True)
    }


def _value(text: str, kind: str, length: int) -> Any:
    """A text as the JSON value of its column; tinyint(1) is MariaDB's boolean."""
    if kind == "TINY" and length == 1:
        return text != "0"
    if kind in _INTEGERS:
        return int(text)
    if kind in _NUMBERS:
        return float(text)
    if kind == "TIMESTAMP":
        return text.replace(" ", "T") + "+00:00"
    return text.replace(" ", "T") if kind == "DATETIME" else text
