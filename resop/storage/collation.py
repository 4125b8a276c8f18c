"""Make the database compare texts byte by byte, whatever its defaults are.

A collation such as utf8mb4_general_ci takes `alice`, `Alice` and `älice` for the same user, and a
character set such as latin1 cannot store every text. So the tables declare their own. They declare
their engine as well: others than InnoDB have no transactions.
"""

from __future__ import annotations

import re

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from resop.storage.models import CHARSET, COLLATION, METADATA

_BYTE_BY_BYTE = re.compile(r"utf8mb4_(\w+_)?bin")
_CONVERT = f"CONVERT TO CHARACTER SET {CHARSET} COLLATE {COLLATION}"
_COLLATION_IN_SQLITE = re.compile(r"\bCOLLATE\s+[\"'`\[]?(\w+)", re.IGNORECASE)


def check_collations(db: Connection) -> None:
    """Convert tables that compare texts otherwise; the caller holds a lock.

    Raises LookupError, with the message for the administrator, where that is not possible.
    """
    if db.dialect.name == "sqlite":
        _check_sqlite(db)
    elif statements := _conversions(db):
        try:
            for statement in statements:
                db.execute(text(statement))
        except DBAPIError as fault:
            raise LookupError(
                "tables do not compare texts byte by byte, or have no transactions, and this "
                f"service cannot convert them ({fault.orig}). As the database's administrator, "
                f"run: {'; '.join(statements)}"
            ) from fault


def _conversions(db: Connection) -> list[str]:
    """Return the statements that give tables the right engine, character set and collation."""
    engines = db.execute(
        text(
            "SELECT table_name, engine FROM information_schema.tables "
            "WHERE table_schema = DATABASE()"
        )
    )
    others = {table for table, engine in engines if engine and engine.lower() != "innodb"}
    columns = db.execute(
        text(
            "SELECT table_name, collation_name FROM information_schema.columns "
            "WHERE table_schema = DATABASE() AND collation_name IS NOT NULL"
        )
    )
    weak = {table for table, collation in columns if not _BYTE_BY_BYTE.fullmatch(collation)}
    return [
        f"ALTER TABLE `{table}` {'ENGINE = InnoDB, ' if table in others else ''}{_CONVERT}"
        for table in sorted((others | weak) & METADATA.tables.keys())
    ]


def _check_sqlite(db: Connection) -> None:
    rows = db.execute(text("SELECT name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    for name, table, sql in rows:
        for collation in _COLLATION_IN_SQLITE.findall(sql):
            if table in METADATA.tables and collation.upper() != "BINARY":
                raise LookupError(
                    f"{name} compares texts with the collation {collation}, not byte by byte: "
                    "create it without COLLATE"
                )
