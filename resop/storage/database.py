"""One database, SQLite or MariaDB: connections, transactions and its unavailability."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, delete, event, func, select
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from resop.errors import InvalidSettings, RecordsUnavailable
from resop.storage.models import CHARSET, WORKER
from resop.storage.schema_upgrade import prepare_tables

SQLITE_BUSY_SECONDS = 20
POOLED_CONNECTIONS = 10
OVERFLOW_CONNECTIONS = 40
TABLES_LOCK = "resop tables"
TABLES_LOCK_SECONDS = 30


class Database:
    """Opens connections and transactions. All raise RecordsUnavailable without an answer."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        file = make_url(url).database
        sqlite = self._engine.dialect.name == "sqlite" and file
        self._relaxed = _engine(url, durable=False) if sqlite else self._engine
        self._writer_lock = _WriterLock(Path(f"{file}.lock")) if sqlite else None

    def create_tables(self) -> None:
        """Create or upgrade the tables; several processes may do so at once.

        Raises InvalidSettings for a file that is no database, and for tables of a newer resop.
        """
        mariadb = self._engine.dialect.name in ("mysql", "mariadb")
        try:
            with self._writer_lock or nullcontext(), self._engine.connect() as db:
                if mariadb:
                    # MariaDB protects the creation of tables in no other way.
                    db.execute(select(func.get_lock(TABLES_LOCK, TABLES_LOCK_SECONDS)))
                prepare_tables(db)
                db.commit()
                if mariadb:
                    db.execute(select(func.release_lock(TABLES_LOCK)))
        except OperationalError as fault:
            raise RecordsUnavailable(f"the database: {fault.orig}") from fault
        except DBAPIError as fault:
            raise InvalidSettings(f"DATABASE_URL: {fault.orig}") from fault
        except LookupError as fault:
            raise InvalidSettings(f"DATABASE_URL: {fault}") from fault

    def close(self) -> None:
        """Close the connections of this process."""
        self._engine.dispose()
        self._relaxed.dispose()

    def check(self) -> None:
        """Check that the database can be written; changes nothing."""
        with self.write() as db:
            db.execute(delete(WORKER).where(WORKER.c.id == ""))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection on which each statement is its own transaction."""
        with _known_errors(), self._reader.connect() as db:
            yield db

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """Yield a transaction, which is on the disk when the context ends.

        With `durable=False` SQLite flushes it only with the next durable transaction. Until then
        it survives a crash of the process, but not a power failure.
        """
        engine = self._engine if durable else self._relaxed
        with _known_errors(), self._writer_lock or nullcontext(), engine.begin() as db:
            yield db


class _WriterLock:
    """Makes the writers of a SQLite file, in all processes, wait for each other in the kernel.

    SQLite allows one writer at a time. The others sleep and retry, for up to 100 ms at a time,
    which is most of a request's time under load.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._thread_lock = threading.Lock()
        self._descriptor: int | None = None

    def __enter__(self) -> None:
        self._thread_lock.acquire()
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except OSError as fault:
            self._thread_lock.release()
            raise RecordsUnavailable from fault

    def __exit__(self, *_: object) -> None:
        assert self._descriptor is not None
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._thread_lock.release()


@contextmanager
def _known_errors() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as fault:
        raise RecordsUnavailable from fault
    except DBAPIError as fault:
        if fault.connection_invalidated:
            raise RecordsUnavailable from fault
        raise


def _engine(url: str, *, durable: bool = True) -> Engine:
    pool = {"pool_size": POOLED_CONNECTIONS, "max_overflow": OVERFLOW_CONNECTIONS}
    if make_url(url).get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": SQLITE_BUSY_SECONDS}, **pool)
        event.listen(engine, "connect", partial(_prepare_sqlite, durable))
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    charset = make_url(url).query.get("charset", CHARSET)
    if charset != CHARSET:
        raise InvalidSettings(
            f"DATABASE_URL: charset={charset} cannot carry every text: write charset={CHARSET}, "
            "or leave it out"
        )
    try:
        return create_engine(
            url,
            pool_pre_ping=True,
            pool_recycle=1800,
            pool_timeout=5,
            isolation_level="READ COMMITTED",
            connect_args={"connect_timeout": 5},
            **pool,
        )
    except ModuleNotFoundError as fault:
        raise InvalidSettings(
            f"DATABASE_URL needs {fault.name}, which is not installed: pip install 'resop[mariadb]'"
        ) from None


def _prepare_sqlite(durable: bool, connection: Any, _: Any) -> None:
    # The driver would begin a transaction late, as a reader that then cannot become a writer.
    connection.isolation_level = None
    synchronous = "FULL" if durable else "NORMAL"
    for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
