"""Make the database compare texts byte by byte, whatever its defaults are.

A collation such as utf8mb4_general_ci takes `alice`, `Alice` and `älice` for the same user, and a
character set such as latin1 cannot store every text. So the tables declare their own.
"""

from __future__ import annotations

import re

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from resop.storage.models import CHARSET, COLLATION, METADATA

_BYTE_BY_BYTE = re.compile(r"utf8mb4_(\w+_)?bin")
_COLLATION_IN_SQLITE = re.compile(r"\bCOLLATE\s+[\"'`\[]?(\w+)", re.IGNORECASE)


def check_collations(db: Connection) -> None:
    """Convert tables that compare texts otherwise; the caller holds a lock.

    Raises LookupError, with the message for the administrator, where that is not possible.
    """
    if db.dialect.name == "sqlite":
        _check_sqlite(db)
    elif weak := _weak_tables(db):
        try:
            for table in weak:
                convert(db, table)
        except DBAPIError as fault:
            raise LookupError(
                f"the tables {', '.join(weak)} do not compare texts byte by byte, and cannot be "
                f"converted to {COLLATION} ({fault.orig}): run 'resop tables' with a database "
                "user that may alter tables"
            ) from fault


def convert(db: Connection, table: str) -> None:
    """Convert all text columns of a MariaDB table."""
    db.execute(
        text(f"ALTER TABLE `{table}` CONVERT TO CHARACTER SET {CHARSET} COLLATE {COLLATION}")
    )


def _weak_tables(db: Connection) -> list[str]:
    """Return the tables with a text column in another character set or collation."""
    rows = db.execute(
        text(
            "SELECT table_name, collation_name FROM information_schema.columns "
            "WHERE table_schema = DATABASE() AND collation_name IS NOT NULL"
        )
    )
    return sorted(
        {
            table
            for table, collation in rows
            if table in METADATA.tables and not _BYTE_BY_BYTE.fullmatch(collation)
        }
    )


def _check_sqlite(db: Connection) -> None:
    rows = db.execute(text("SELECT name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    for name, table, sql in rows:
        for collation in _COLLATION_IN_SQLITE.findall(sql):
            if table in METADATA.tables and collation.upper() != "BINARY":
                raise LookupError(
                    f"{name} compares texts with the collation {collation}, not byte by byte: "
                    "create it without COLLATE"
                )
