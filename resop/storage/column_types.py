"""Column types that mean the same on SQLite and on MariaDB."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, DateTime, Dialect, LargeBinary, Text, type_coerce
from sqlalchemy.types import TypeDecorator, TypeEngine


def _type_of(
    dialect: Dialect, plain: TypeEngine[Any], mariadb: str, **given: Any
) -> TypeEngine[Any]:
    """The type of that name in MariaDB, and the plain one elsewhere."""
    if dialect.name not in ("mysql", "mariadb"):
        return dialect.type_descriptor(plain)
    # Not above: it is 1 MiB of each process, and SQLite needs nothing of it.
    from sqlalchemy.dialects import mysql

    return dialect.type_descriptor(getattr(mysql, mariadb)(**given))


class LongText(TypeDecorator[str]):
    """Text without MariaDB's limit of 64 KiB."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Of 4 GiB."""
        return _type_of(dialect, Text(), "LONGTEXT")


class EncryptedBytes(TypeDecorator[bytes]):
    """Bytes of an envelope."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Without MariaDB's limit of 64 KiB."""
        return _type_of(dialect, LargeBinary(), "LONGBLOB")


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time: UTC with microseconds in the database, aware in Python."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """MariaDB drops fractions of a second unless told otherwise."""
        return _type_of(dialect, DateTime(), "DATETIME", fsp=6)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC without a zone."""
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        return value.replace(tzinfo=UTC) if value else None


class Json(TypeDecorator[Any]):
    """A JSON value kept as text: readable in any client, with no limit on its size."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """As a LongText."""
        return _type_of(dialect, Text(), "LONGTEXT")

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """None is NULL; everything else is its JSON."""
        if value is None:
            return None
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        # Half a character of UTF-16 is no text to a database.
        return text.encode("utf-8", "replace").decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """The value as it was."""
        return None if value is None else json.loads(value)


def contains_text(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """The condition that a text, or some text in a Json column, has this in it; `A` is `a`."""
    if isinstance(column.type, Json):
        text = json.dumps(text, ensure_ascii=False)[1:-1]
    return type_coerce(column, Text).icontains(text, autoescape=True)
