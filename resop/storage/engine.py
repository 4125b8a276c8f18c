"""Engines of SQLAlchemy: how this service connects to SQLite and to MariaDB."""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import Connection, NullPool, create_engine, event
from sqlalchemy.engine import Engine, ExceptionContext, make_url

from resop.errors import InvalidSettings
from resop.storage.database_errors import (
    PACKET_TOO_LARGE,
    is_elsewhere,
    number_of,
    refused,
    statement_bytes,
)
from resop.storage.models import CHARSET

SQLITE_BUSY_SECONDS = 20
POOLED_CONNECTIONS = 10
OVERFLOW_CONNECTIONS = 40
CONNECT_SECONDS = 5
ANSWER_SECONDS = 60
"""How long MariaDB may take for a statement: packets of a machine that is gone just vanish."""
ROW_LOCK_SECONDS, TABLE_LOCK_SECONDS = 5, 10
_POOL = {"pool_size": POOLED_CONNECTIONS, "max_overflow": OVERFLOW_CONNECTIONS}
_SESSION = {
    "sql_mode": "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
    "time_zone": "'+00:00'",
    "sql_safe_updates": "0",
    "sql_select_limit": "18446744073709551615",
    "innodb_lock_wait_timeout": str(ROW_LOCK_SECONDS),
    "lock_wait_timeout": str(TABLE_LOCK_SECONDS),
}
"""Variables that decide what a statement means or how long it waits, whatever a server's are."""
_PACKET_KEY = "max_allowed_packet"


def new_engine(url: str, *, durable: bool = True, patient: bool = False) -> Engine:
    """Return an engine; `patient` for statements that may take long, such as ALTER TABLE.

    Raises InvalidSettings for a URL that cannot be used.
    """
    if make_url(url).get_backend_name() == "sqlite":
        return _sqlite_engine(url, durable)
    charset = make_url(url).query.get("charset", CHARSET)
    if charset != CHARSET:
        raise InvalidSettings(
            f"DATABASE_URL: charset={charset} cannot carry every text: write charset={CHARSET}, "
            "or leave it out"
        )
    timeouts = {} if patient else {"read_timeout": ANSWER_SECONDS, "write_timeout": ANSWER_SECONDS}
    pool = {"poolclass": NullPool} if patient else {**_POOL, "pool_timeout": 5}
    try:
        engine = create_engine(
            url,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_recycle=1800,
            isolation_level="READ COMMITTED",
            connect_args={"connect_timeout": CONNECT_SECONDS, **timeouts},
            **pool,
        )
    except ModuleNotFoundError as fault:
        raise InvalidSettings(
            f"DATABASE_URL needs {fault.name}, which is not installed: pip install 'resop[mariadb]'"
        ) from None
    # First, because SQLAlchemy reads there how identifiers are quoted.
    event.listen(engine, "connect", _prepare_mariadb, insert=True)
    event.listen(engine, "handle_error", _explain_mariadb)
    return engine


def _sqlite_engine(url: str, durable: bool) -> Engine:
    engine = create_engine(
        url, hide_parameters=True, connect_args={"timeout": SQLITE_BUSY_SECONDS}, **_POOL
    )
    event.listen(engine, "connect", partial(_prepare_sqlite, durable))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_mariadb(connection: Any, record: Any) -> None:
    assignments = ", ".join(f"@@SESSION.{name} = {value}" for name, value in _SESSION.items())
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION READ WRITE")
        cursor.execute(f"SET {assignments}")
        cursor.execute("SELECT @@max_allowed_packet")
        record.info[_PACKET_KEY] = cursor.fetchone()[0]


def _explain_mariadb(context: ExceptionContext) -> Exception | None:
    """Find the cause of a connection that was closed; leave a server that has become a replica."""
    fault = context.original_exception
    if is_elsewhere(fault):
        context.is_disconnect = True  # with all that are in the pool
        return None
    if context.connection is None or not context.statement:
        return None
    if number_of(fault) not in PACKET_TOO_LARGE:
        return None
    limit = context.connection.info.get(_PACKET_KEY)
    if limit is None or statement_bytes(context.statement, context.parameters) < limit:
        return None
    context.is_disconnect = True
    return refused(f"it is larger than the server's max_allowed_packet of {limit} bytes")


def _prepare_sqlite(durable: bool, connection: Any, _: Any) -> None:
    # The driver would begin a transaction late, as a reader that then cannot become a writer.
    connection.isolation_level = None
    synchronous = "FULL" if durable else "NORMAL"
    for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
