"""One database, SQLite or MariaDB: connections, transactions, and what to say when it is away."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, func, literal_column, select
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from resop.errors import InvalidSettings, RecordsUnavailable
from resop.storage.schema import prepare_tables

BUSY_SECONDS = 20
CONNECTIONS = 10
FURTHER_CONNECTIONS = 40
TABLES_LOCK = "resop tables"
LOCK_SECONDS = 30


class Database:
    """Everything raises RecordsUnavailable when the database does not answer."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        file = make_url(url).database
        sqlite = self._engine.dialect.name == "sqlite" and file
        self._relaxed = _engine(url, durable=False) if sqlite else self._engine
        self._writer_lock = _WriterLock(Path(f"{file}.lock")) if sqlite else None

    def create_tables(self) -> None:
        """Make what is missing, upgrade what is older; several processes may do so at once.

        Raises InvalidSettings when something is there that is no database, or is of a newer resop.
        """
        mariadb = self._engine.dialect.name in ("mysql", "mariadb")
        try:
            with self._writer_lock or nullcontext(), self._engine.connect() as db:
                if mariadb:
                    # MariaDB's statements that make a table know no other protection.
                    db.execute(select(func.get_lock(TABLES_LOCK, LOCK_SECONDS)))
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
        """Ask the database something."""
        with self.read() as db:
            db.execute(select(literal_column("1")))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection on which each statement stands for itself."""
        with _known_errors(), self._reader.connect() as db:
            yield db

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """A transaction, on the disk when it is done.

        With `durable=False` SQLite leaves that to the next one that is durable, which takes all
        before it along: until then it outlives a crash of ours, but not a failure of the power.
        """
        engine = self._engine if durable else self._relaxed
        with _known_errors(), self._writer_lock or nullcontext(), engine.begin() as db:
            yield db


class _WriterLock:
    """Lets the writers of a SQLite file, in all processes, wait for each other in the kernel.

    SQLite has one writer at a time, and makes the others sleep and try again, for up to 100 ms;
    under load that is most of a request's time.
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
    pool = {"pool_size": CONNECTIONS, "max_overflow": FURTHER_CONNECTIONS}
    if make_url(url).get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, **pool)
        event.listen(engine, "connect", partial(_prepare_sqlite, durable))
        event.listen(engine, "begin", _begin_sqlite)
        return engine
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
    # The driver's own transaction handling would begin late, as a reader that then cannot write.
    connection.isolation_level = None
    synchronous = "FULL" if durable else "NORMAL"
    for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
