"""Column types that behave the same on SQLite and on MariaDB."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, DateTime, Dialect, LargeBinary, Text, type_coerce
from sqlalchemy.types import TypeDecorator, TypeEngine


def _type_for(
    dialect: Dialect, plain: TypeEngine[Any], mariadb: str, **arguments: Any
) -> TypeEngine[Any]:
    """Return the type of that name in MariaDB, and the plain type elsewhere."""
    if dialect.name not in ("mysql", "mariadb"):
        return dialect.type_descriptor(plain)
    # Imported here: it takes 1 MiB in each process, and SQLite needs none of it.
    from sqlalchemy.dialects import mysql

    return dialect.type_descriptor(getattr(mysql, mariadb)(**arguments))


class LongText(TypeDecorator[str]):
    """Text that may be longer than MariaDB's 64 KiB."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return a type for up to 4 GiB."""
        return _type_for(dialect, Text(), "LONGTEXT")


class EncryptedBytes(TypeDecorator[bytes]):
    """Encrypted bytes, which may be longer than MariaDB's 64 KiB."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return a type for up to 4 GiB."""
        return _type_for(dialect, LargeBinary(), "LONGBLOB")


class UtcDateTime(TypeDecorator[datetime]):
    """A time: UTC with microseconds in the database, timezone-aware in Python."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return a type that keeps microseconds, which MariaDB drops by default."""
        return _type_for(dialect, DateTime(), "DATETIME", fsp=6)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC without a timezone."""
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Add the timezone."""
        return value.replace(tzinfo=UTC) if value else None


class Json(TypeDecorator[Any]):
    """A JSON value, stored as text: readable in any client, of any size."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return a type for up to 4 GiB."""
        return _type_for(dialect, Text(), "LONGTEXT")

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Convert to JSON; None becomes NULL."""
        if value is None:
            return None
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        # Databases refuse lone surrogates, which JSON may contain.
        return text.encode("utf-8", "replace").decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Convert from JSON."""
        return None if value is None else json.loads(value)


def contains_text(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """Return the condition that a text or a Json column contains `text`, in any case."""
    if isinstance(column.type, Json):
        text = json.dumps(text, ensure_ascii=False)[1:-1]
    return type_coerce(column, Text).icontains(text, autoescape=True)
