"""One database, SQLite or MariaDB: connections, transactions and its unavailability."""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import ParamSpec, TypeVar

from sqlalchemy import Connection, Select, delete, func, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from resop.clock import CLOCK, NOTABLE_SECONDS
from resop.errors import InvalidSettings, RecordsUnavailable, ServiceFault
from resop.storage.database_errors import meaning, unsendable
from resop.storage.engine import new_engine
from resop.storage.models import STEP_OUTPUT, StepOutput
from resop.storage.schema_upgrade import prepare_tables

log = logging.getLogger(__name__)

TABLES_LOCK = "resop tables"
TABLES_LOCK_SECONDS = 30
CONFLICT_ATTEMPTS = 5
CONFLICT_SECONDS = 6.0
"""No transaction is repeated later than this after its begin."""
_CONFLICT_PAUSE = 0.02
_NO_TASK = ""
_SAMPLE = StepOutput(task=_NO_TASK, number=0, step=0, stream=1, text="x" * (1 << 16))
"""Output as large as that of a step may be in one piece, of a task that there is not."""

P = ParamSpec("P")
T = TypeVar("T")


def repeated_on_conflict(transaction: Callable[P, T]) -> Callable[P, T]:
    """Repeat a function that is one transaction if that lost against another one."""

    @functools.wraps(transaction)
    def repeated(*args: P.args, **kwargs: P.kwargs) -> T:
        until = time.monotonic() + CONFLICT_SECONDS
        for attempt in range(1, CONFLICT_ATTEMPTS):
            try:
                return transaction(*args, **kwargs)
            except RecordsUnavailable as fault:
                if not fault.conflict or time.monotonic() > until:
                    raise
            time.sleep(random.uniform(1, 2) * _CONFLICT_PAUSE * attempt)
        return transaction(*args, **kwargs)

    return repeated


class Database:
    """Opens connections and transactions. All raise RecordsUnavailable without an answer."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine = new_engine(url)
        self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        file = make_url(url).database
        self._mariadb = self._engine.dialect.name in ("mysql", "mariadb")
        sqlite = not self._mariadb and file
        self._relaxed = new_engine(url, durable=False) if sqlite else self._engine
        self._writer_lock = _WriterLock(Path(f"{file}.lock")) if sqlite else None
        self._told_skew = 0.0
        self._lacked_space = False

    def create_tables(self) -> None:
        """Create or upgrade the tables; several processes may do so at once.

        Raises InvalidSettings for a file that is no database, and for tables of a newer resop.
        """
        engine = new_engine(self._url, patient=True) if self._mariadb else self._engine
        try:
            with self._writer_lock or nullcontext(), engine.connect() as db:
                if self._mariadb:
                    # MariaDB protects the creation of tables in no other way.
                    lock = select(func.get_lock(TABLES_LOCK, TABLES_LOCK_SECONDS))
                    if db.execute(lock).scalar() != 1:
                        raise RecordsUnavailable("another process is changing the tables")
                prepare_tables(db)
                db.commit()
                if self._mariadb:
                    db.execute(select(func.release_lock(TABLES_LOCK)))
        except OperationalError as fault:
            raise RecordsUnavailable(f"the database: {fault.orig}") from fault
        except DBAPIError as fault:
            raise InvalidSettings(f"DATABASE_URL: {fault.orig}") from fault
        except LookupError as fault:
            raise InvalidSettings(f"DATABASE_URL: {fault}") from fault
        finally:
            if engine is not self._engine:
                engine.dispose()

    def close(self) -> None:
        """Close the connections of this process."""
        self._engine.dispose()
        self._relaxed.dispose()

    def locking(self, query: Select[tuple[str]]) -> Select[tuple[str]]:
        """Return a query that locks its rows, without rows that another process has locked.

        MariaDB can skip these from 10.6 on, and waits for them before. For use in a transaction.
        """
        version = tuple(getattr(self._engine.dialect, "server_version_info", None) or ())
        oldest = (10, 6) if getattr(self._engine.dialect, "is_mariadb", False) else (8,)
        return query.with_for_update(skip_locked=version >= oldest)

    def check(self) -> None:
        """Check that the database can be written; changes nothing unless its disk was full."""
        with self.write() as db:
            db.execute(delete(STEP_OUTPUT).where(STEP_OUTPUT.c.task == _NO_TASK))
            if self._lacked_space:  # only a write tells; the next check removes it
                db.execute(insert(STEP_OUTPUT), [_SAMPLE.model_dump()])
        self._lacked_space = False

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection on which each statement is its own transaction."""
        with _known_errors(), self._reader.connect() as db:
            self._set_clock(db)
            yield db

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """Yield a transaction, which is on the disk when the context ends.

        With `durable=False` SQLite flushes it only with the next durable transaction. Until then
        it survives a crash of the process, but not a power failure.
        """
        engine = self._engine if durable else self._relaxed
        try:
            with _known_errors(), self._writer_lock or nullcontext(), engine.begin() as db:
                self._set_clock(db)
                yield db
        except RecordsUnavailable as fault:
            self._lacked_space = self._lacked_space or fault.lacks_space
            raise

    def _set_clock(self, db: Connection) -> None:
        """Set the service's clock by the database's from time to time, and log a skew."""
        if not self._mariadb or not CLOCK.is_due:
            return
        asked_at = CLOCK.elapsed()
        CLOCK.set(float(db.exec_driver_sql("SELECT UNIX_TIMESTAMP(NOW(6))").scalar_one()), asked_at)
        if abs(CLOCK.skew - self._told_skew) > NOTABLE_SECONDS:
            self._told_skew = CLOCK.skew
            log.warning(
                "the clock of this machine is %.1f s %s the database's, which counts: "
                "synchronize the clocks of all machines (NTP)",
                abs(CLOCK.skew),
                "ahead of" if CLOCK.skew > 0 else "behind",
            )


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
    except PoolTimeout as fault:
        raise RecordsUnavailable(
            "All connections of this process to the database are in use: try again later."
        ) from fault
    except IntegrityError:
        raise  # by which callers know that a key is in use
    except DBAPIError as fault:
        known = meaning(fault)
        # The driver's own text only where it cannot quote a value.
        cause = fault.orig if isinstance(known, RecordsUnavailable) and not known.suspect else None
        if isinstance(known, ServiceFault):
            log.error("%s", known.message, stack_info=True)
        raise known from cause
    except (UnicodeEncodeError, OverflowError) as fault:
        raise unsendable(fault) from None
