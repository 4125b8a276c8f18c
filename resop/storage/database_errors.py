"""Tell what an error of the database means, in words that contain nothing of the data.

The texts of drivers and servers quote values, such as the start of an output or the key of a row.
They must not get into a log or an answer, so only the number of an error is used.
Numbers: https://mariadb.com/docs/server/reference/error-codes, https://sqlite.org/rescode.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy.exc import DBAPIError

from resop.errors import RecordRefused, RecordsUnavailable, ResopError, ServiceFault

PACKET_TOO_LARGE = frozenset({1153, 2006, 2013})
"""Errors of a statement larger than max_allowed_packet: the server closes the connection."""
_SHIPPED = frozenset({1290, 1792, 1836, 1047, 3100, 1053, 1927})
"""The server at the other end of the connection is not (or no longer) the one to write to."""
_CONFLICTS = frozenset({1020, 1205, 1213, 3572})
"""The transaction lost against another one: it may be repeated."""
_READ_ONLY = "is read-only"
_FULL = "has no space left on its disk"
_LOST = "has closed the connection"
_REFUSED_LOGIN = "does not let this service in (see DATABASE_URL)"
_NO_CONNECTION = "has too many connections"
_INTERRUPTED = "has ended the statement"
_LOCKED = "is locked"
_TABLES_MISSING = "lacks tables or columns of this release: run 'resop tables'"
_MARIADB: Mapping[int, str] = {
    1020: _LOCKED,
    1021: _FULL,
    1036: _READ_ONLY,
    1040: _NO_CONNECTION,
    1044: _REFUSED_LOGIN,
    1045: _REFUSED_LOGIN,
    1047: "is a cluster node that is not ready",
    1049: "does not exist on its server (see DATABASE_URL)",
    1053: "is shutting down",
    1054: _TABLES_MISSING,
    1114: _FULL,
    1142: _REFUSED_LOGIN,
    1143: _REFUSED_LOGIN,
    1146: _TABLES_MISSING,
    1203: _NO_CONNECTION,
    1205: _LOCKED,
    1213: _LOCKED,
    1226: _NO_CONNECTION,
    1290: _READ_ONLY,
    1317: _INTERRUPTED,
    1665: "needs row-based logging: SET GLOBAL binlog_format = 'MIXED'",
    1698: _REFUSED_LOGIN,
    1792: _READ_ONLY,
    1836: _READ_ONLY,
    1927: _LOST,
    1969: _INTERRUPTED,
    2002: "cannot be reached",
    2003: "cannot be reached",
    2005: "cannot be reached",
    2006: _LOST,
    2013: _LOST,
    2055: _LOST,
    3024: _INTERRUPTED,
    3572: _LOCKED,
    4031: _LOST,
}
_SQLITE: Mapping[int, str] = {
    1: _TABLES_MISSING,
    5: _LOCKED,
    6: _LOCKED,
    7: "has no memory left",
    8: _READ_ONLY,
    10: "cannot be read or written: its disk reports errors",
    11: "is damaged: restore a backup",
    13: _FULL,
    14: "cannot be opened: check the folder and its permissions",
    23: "may not be used",
    26: "is no SQLite database",
}
"""By primary result code."""
_REFUSED_BY_MARIADB: Mapping[int, str] = {
    1118: "it is too large for a row, or for the server's redo log",
    1153: "it is larger than max_allowed_packet",
    1264: "a number or time is out of range",
    1267: "it contains characters that the table cannot store",
    1292: "a number or time is out of range",
    1300: "it contains characters that the table cannot store",
    1301: "it is larger than max_allowed_packet",
    1366: "it contains characters that the table cannot store",
    1406: "a text is too long",
    3988: "it contains characters that the table cannot store",
}
_REFUSED_BY_SQLITE = {18: "it is too large", 20: "a value has the wrong type"}
_COLUMN = re.compile(r"for column [`'](?:[^'`]*[`']\.[`'])*(\w+)[`'] at row \d+$")


class _Code(NamedTuple):
    """An error's number, and what is known about the errors of that database."""

    number: int | None
    reasons: Mapping[int, str]
    refusals: Mapping[int, str]


def meaning(error: DBAPIError) -> ResopError:
    """Return the error to raise instead of one of the database.

    RecordsUnavailable if the database cannot do this now, RecordRefused if it cannot store these
    values, ServiceFault for a statement that is wrong.
    """
    number, reasons, refusals = _code(error)
    name = type(error.orig).__name__
    if number in refusals or name in ("DataError", "NotSupportedError"):
        return refused(refusals.get(number or 0, f"error {number or name}"), _column(error))
    if number in reasons or error.connection_invalidated:
        return _unavailable(number, reasons.get(number or 0))
    if name in ("ProgrammingError", "InterfaceError") and number:
        return ServiceFault(f"the database does not understand a statement (error {number})")
    return _unavailable(number, f"reports error {number}" if number else None)


def unsendable(fault: UnicodeEncodeError | OverflowError) -> RecordRefused:
    """Return the error for a value that the driver cannot even send."""
    if isinstance(fault, OverflowError):
        return refused("a number is out of range")
    return refused("it contains half of a surrogate pair")


def refused(reason: str, column: str = "") -> RecordRefused:
    """Return the error for values that the database cannot store."""
    place = f" ({column})" if column else ""
    return RecordRefused(f"the database cannot store this{place}: {reason}")


def number_of(error: BaseException | None) -> int | None:
    """Return the number of a driver's error; for SQLite its primary result code."""
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int):
        return code & 0xFF
    first = error.args[0] if error is not None and error.args else None
    return first if isinstance(first, int) and first > 0 else None


def is_elsewhere(error: BaseException) -> bool:
    """Return True if a new connection may reach another server, which takes writes."""
    return number_of(error) in _SHIPPED


def statement_bytes(statement: str, parameters: Any) -> int:
    """Return the size of a statement with its values, at most, as MariaDB gets it.

    Of many rows only the largest one counts, because the driver splits them.
    """
    rows = parameters if isinstance(parameters, list) else [parameters]
    return len(statement.encode()) + max(
        (sum(map(_bytes, _values(row))) for row in rows), default=0
    )


def _code(error: DBAPIError) -> _Code:
    number = number_of(error.orig)
    if type(error.orig).__module__.startswith("sqlite3"):
        return _Code(number, _SQLITE, _REFUSED_BY_SQLITE)
    return _Code(number, _MARIADB, _REFUSED_BY_MARIADB)


def _column(error: DBAPIError) -> str:
    """Return the column that a value is too large for; empty if the server names none."""
    found = _COLUMN.search(str(error.orig.args[-1])) if error.orig and error.orig.args else None
    return found[1] if found else ""


def _unavailable(number: int | None, reason: str | None) -> RecordsUnavailable:
    fault = RecordsUnavailable(f"The database {reason}: try again later.") if reason else None
    fault = fault or RecordsUnavailable()
    fault.conflict = number in _CONFLICTS
    fault.lacks_space = reason == _FULL
    fault.suspect = reason is None or reason == _LOST or reason.startswith("reports")
    return fault


def _values(row: Any) -> list[Any]:
    return list(row.values()) if isinstance(row, Mapping) else list(row or ())


def _bytes(value: Any) -> int:
    """Return the size of a value in a statement: quoted, and escaped with backslashes."""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    if not isinstance(value, bytes):
        return len(str(value)) + 2
    return len(value) + sum(value.count(each) for each in b"\0\n\r\x1a\"'\\") + len("_binary''")
