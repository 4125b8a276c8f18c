"""MariaDB as it is found: other modes, limits and locks, and servers that change their role."""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_engine, text, update
from sqlalchemy.pool import NullPool

from cli.database_server import find_server_weaknesses
from resop.clock import CLOCK, Clock, now
from resop.errors import InvalidSettings, RecordRefused, RecordsUnavailable
from resop.storage import engine
from resop.storage.changes import Change
from resop.storage.database import Database, repeated_on_conflict
from resop.storage.models import METADATA, TASK, State, Step, StepOutput
from resop.storage.task_search import TaskFilter, TaskSearch
from resop.storage.tasks import NewTask, TaskStore
from resop.storage.workers import WorkerStore
from tests.support.services import MariaDB
from tests.support.tasks import new_task
from worker.record_writer import RecordWriter

NUMBERS = itertools.count(1)
ODD = 'it\'s "quoted" \\ back\\slash %s :x \0 \r\n 日本 😀'
SECRET = "the output of ada"


class Nobody:
    """A publisher to whom nobody listens."""

    def publish(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def warnings_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Undo what a Celery worker of an earlier test did to the root logger."""
    caplog.set_level(logging.WARNING)


@pytest.fixture
def url(server: MariaDB) -> str:
    return server.database(f"faults_{next(NUMBERS)}")


@pytest.fixture
def mariadb(url: str) -> Iterator[Database]:
    with opened(url) as database:
        yield database


@pytest.fixture
def store(mariadb: Database) -> TaskStore:
    return TaskStore(mariadb)


@contextlib.contextmanager
def opened(url: str) -> Iterator[Database]:
    with contextlib.closing(Database(url)) as database:
        database.create_tables()
        yield database


@contextlib.contextmanager
def set_to(server: MariaDB, **variables: Any) -> Iterator[None]:
    """Set global variables for a while; only new connections see most of them."""
    with server.administrator() as cursor:
        before = {}
        for name, value in variables.items():
            cursor.execute(f"SELECT @@GLOBAL.{name}")
            [before[name]] = cursor.fetchone() or ()
            cursor.execute(f"SET GLOBAL {name} = %s", (value,))
        try:
            yield
        finally:
            for name, value in before.items():
                cursor.execute(f"SET GLOBAL {name} = %s", (value,))


def settings(url: str) -> Any:
    return SimpleNamespace(DATABASE_URL=url, database_url=url)


def claimed(store: TaskStore, **values: Any) -> str:
    task = new_task(**values)
    store.add(task)
    assert store.claim(task.id, "w") is not None
    return task.id


def state_of(store: TaskStore, task_id: str) -> tuple[str, str]:
    """Return the state of a task, and the type of its error."""
    task = store.get(task_id)
    assert task is not None
    return task.state, (task.error or {}).get("type", "")


def test_modes_of_the_server_change_nothing(server: MariaDB) -> None:
    variants: list[Mapping[str, Any]] = [
        {"sql_mode": "ANSI_QUOTES"},
        {"sql_mode": "", "time_zone": "+05:00"},
        {"sql_mode": "ORACLE", "tx_isolation": "SERIALIZABLE"},
        {"sql_mode": "NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH", "sql_safe_updates": 1},
        {"tx_read_only": 1, "sql_select_limit": 1, "default_storage_engine": "MyISAM"},
    ]
    for variant in variants:
        url = server.database(f"mode_{next(NUMBERS)}")
        with set_to(server, **variant), opened(url) as found:
            store = TaskStore(found)
            tasks = [new_task(note=ODD, options={"x": ODD}, tags=["a"]) for _ in range(3)]
            store.add_all([NewTask(task) for task in tasks], max_queued=9)
            for task in tasks:
                read = store.get(task.id)
                assert read == task, variant
            store.label(tasks[0].id, note="other")
            page = TaskSearch(found).page("ada", "tango", limit=9, matching=TaskFilter())
            assert len(page.tasks) == 3, variant
            with pytest.raises(RecordRefused, match=r"\(id\): a text is too long"):
                WorkerStore(found).heartbeat("w" * 129)  # not cut
            ended = claimed(store)
            assert store.end(ended, State.FAILED)
            assert store.delete_ended(now() + timedelta(seconds=9), 9) == 1


def test_tables_without_transactions_are_converted(url: str) -> None:
    with opened(url) as database:
        TaskStore(database).add(task := new_task())
    with create_engine(url, poolclass=NullPool).begin() as db:
        for table in ("task", "audit"):
            db.execute(text(f"ALTER TABLE `{table}` ENGINE = Aria"))
    with opened(url) as database:
        assert TaskStore(database).get(task.id) == task
        query = (
            "SELECT DISTINCT engine FROM information_schema.tables WHERE table_schema = DATABASE()"
        )
        with database.read() as db:
            assert list(db.exec_driver_sql(query).scalars()) == ["InnoDB"]
    assert "mysql_engine" in METADATA.tables["task"].kwargs


def test_server_that_logs_statements_is_refused_with_the_remedy(server: MariaDB, url: str) -> None:
    with (
        set_to(server, binlog_format="STATEMENT"),
        pytest.raises(InvalidSettings, match="run SET GLOBAL binlog_format = 'MIXED'"),
        opened(url),
    ):
        pass
    with opened(url) as database, set_to(server, binlog_format="STATEMENT"):
        database.close()  # its connections were opened before
        with pytest.raises(RecordsUnavailable, match="binlog_format"):
            database.check()
            TaskStore(database).add(new_task())


def test_result_that_is_too_large_fails_its_own_task_alone(
    server: MariaDB, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with set_to(server, max_allowed_packet=1 << 20), opened(url) as database:
        assert "tasks with larger results fail" in caplog.text
        store = TaskStore(database)
        writer = RecordWriter("w", store, Nobody(), linger_seconds=5)  # type: ignore[arg-type]
        writer.start()
        large = SECRET * 70_000
        bad, good, step = (claimed(store) for _ in range(3))
        begun = Step(task=step, number=1, command="cat", started_at=now())
        rows = [StepOutput(task=step, number=n, step=1, stream=1, text="x" * 9) for n in (1, 2)]
        writer.write_soon(Change.step_begun(begun))
        writer.write_soon(Change.printed(step, rows))
        writer.write_soon(Change.step_ended(step, 1, exit_code=0, seconds=1, stdout=large))
        ends = [
            writer.write_end(
                bad, Change.ended(bad, State.SUCCEEDED, exit_code=0, output=large, stderr=large)
            ),
            writer.write_end(good, Change.ended(good, State.SUCCEEDED, output="kept")),
            writer.write_end(step, Change.ended(step, State.SUCCEEDED, output="short")),
        ]
        for end in ends:
            end.result(20)
        writer.stop(5)
        assert state_of(store, bad) == ("failed", "RecordRefused")
        assert state_of(store, good) == state_of(store, step) == ("succeeded", "")
        [recorded] = store.steps(step)
        assert recorded.exit_code == 0 and "max_allowed_packet" in (recorded.error or "")
        with pytest.raises(RecordRefused, match="max_allowed_packet of 1048576 bytes"):
            store.add(new_task(options={"input": large}))
        store.add(new_task(options={"input": large[: 1 << 19]}))
        [weakness] = find_server_weaknesses(settings(url))
        assert "SET GLOBAL max_allowed_packet = 67108864" in weakness
    assert SECRET not in caplog.text


def test_texts_that_a_table_cannot_store_are_refused_without_showing_them(
    mariadb: Database, store: TaskStore, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with create_engine(url, poolclass=NullPool).begin() as db:
        db.execute(text("ALTER TABLE task MODIFY note LONGTEXT CHARACTER SET latin1"))
    task = new_task()
    store.add(task)
    with pytest.raises(RecordRefused, match=r"\(note\): it contains characters") as refused:
        store.label(task.id, note=f"{SECRET} 日本")
    assert SECRET not in str(refused.value) and refused.value.__cause__ is None
    assert SECRET not in caplog.text


def test_connections_that_the_server_closed_are_opened_again(
    server: MariaDB, mariadb: Database, store: TaskStore
) -> None:
    with set_to(server, wait_timeout=1):
        mariadb.close()
        mariadb.check()
        time.sleep(1.5)
        assert store.get("none") is None
        mariadb.check()
    with server.administrator() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE user LIKE 'faults_%'")
        for (connection,) in cursor.fetchall():
            cursor.execute(f"KILL {connection}")
    mariadb.check()
    assert store.get("none") is None


def test_server_that_became_a_replica_is_left_for_the_new_primary(
    server: MariaDB, mariadb: Database, store: TaskStore
) -> None:
    def connection() -> int:
        with mariadb.write() as db:
            return int(db.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one())

    before = connection()
    assert connection() == before
    asks: list[Callable[[], object]] = [mariadb.check, lambda: store.add(new_task())]
    with set_to(server, read_only=1):
        for ask in asks:
            with pytest.raises(RecordsUnavailable, match="The database is read-only"):
                ask()
        assert store.get("none") is None, "reads go on"
    mariadb.check()
    assert connection() != before, "a proxy or a name may lead to the new primary"


def test_deadlock_is_repeated_until_both_transactions_are_done(
    mariadb: Database, store: TaskStore
) -> None:
    ids = [claimed(store) for _ in range(2)]
    both, attempts = threading.Barrier(2, timeout=20), itertools.count(1)

    @repeated_on_conflict
    def change(first: str, second: str) -> None:
        number = next(attempts)
        with mariadb.write() as db:
            for task_id in (first, second):
                db.execute(update(TASK).where(TASK.c.id == task_id).values(note=first))
                if number <= 2 and task_id == first:
                    both.wait()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(change, *order) for order in (ids, ids[::-1])]:
            done.result(20)
    assert next(attempts) > 3, "there was no deadlock"


def test_locks_are_waited_for_and_then_told(
    server: MariaDB, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("innodb_lock_wait_timeout", "lock_wait_timeout"):
        monkeypatch.setitem(engine._SESSION, name, "1")
    with opened(url) as database, create_engine(url, poolclass=NullPool).connect() as other:
        store = TaskStore(database)
        task = claimed(store)
        other.execute(update(TASK).where(TASK.c.id == task).values(note="another's"))
        release = threading.Timer(1.5, other.commit)
        release.start()
        store.label(task, note="ours")
        release.join()
        assert (found := store.get(task)) is not None and found.note == "ours"
        monkeypatch.setattr("resop.storage.database.CONFLICT_SECONDS", 0.0)
        with server.administrator() as cursor:
            cursor.execute("FLUSH TABLES WITH READ LOCK")
            with pytest.raises(RecordsUnavailable, match="The database is locked"):
                store.label(task, note="backup")
            cursor.execute("UNLOCK TABLES")
        store.label(task, note="after the backup")


def test_statement_that_the_server_ended_and_connections_that_it_refuses(
    server: MariaDB, url: str
) -> None:
    with (
        set_to(server, max_statement_time=0.05),
        opened(url) as database,
        pytest.raises(RecordsUnavailable, match="has ended the statement"),
        database.read() as db,
    ):
        db.exec_driver_sql("SELECT MAX(SHA2(seq, 512)) FROM seq_1_to_100000000")
    name = url.rpartition("/")[2].partition("?")[0]
    with server.administrator() as cursor:
        for host in ("127.0.0.1", "localhost"):
            cursor.execute(f"ALTER USER `{name}`@`{host}` WITH MAX_USER_CONNECTIONS 1")
    with (
        opened(url) as database,
        database.read(),
        pytest.raises(RecordsUnavailable, match="has too many connections"),
    ):
        database.check()


def test_times_are_the_servers_although_the_machines_clock_is_wrong(
    mariadb: Database,
    store: TaskStore,
    server: MariaDB,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = time.time
    for skew, words in ((90.0, "90.0 s ahead of"), (-31.0, "31.0 s behind")):
        for name, value in vars(Clock()).items():
            monkeypatch.setattr(CLOCK, name, value)
        monkeypatch.setattr(time, "time", lambda skew=skew: real() + skew)
        task = claimed(store)
        WorkerStore(mariadb).heartbeat(f"skew {skew}")
        with server.administrator() as cursor:
            cursor.execute("SELECT UTC_TIMESTAMP(6)")
            [(moment,)] = cursor.fetchall()
        moment = moment.replace(tzinfo=UTC)
        beat = WorkerStore(mariadb).heartbeats()[f"skew {skew}"]
        found = store.get(task)
        assert found is not None and found.started_at is not None and beat is not None
        for told in (found.started_at, beat, now()):
            assert abs(told - moment) < timedelta(seconds=1), (skew, told)
        assert f"the clock of this machine is {words} the database's" in caplog.text
        assert abs(datetime.fromtimestamp(real(), UTC) - now()) < timedelta(seconds=1)
        [weakness] = find_server_weaknesses(settings(url))
        assert f"{skew:+.1f} s away from the server's" in weakness
