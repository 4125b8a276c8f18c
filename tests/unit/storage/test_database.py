"""The database: durable and relaxed writes, unavailability, several processes."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from resop.errors import RecordsUnavailable
from resop.storage import engine
from resop.storage.database import Database
from resop.storage.tasks import TaskStore
from tests.support.tasks import new_task as task


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/resop.db"


def test_durable_write_is_flushed_and_a_relaxed_one_is_not(database: Database) -> None:
    synchronous = {}
    for flushed in (True, False):
        with database.write(durable=flushed) as db:
            synchronous[flushed] = db.exec_driver_sql("PRAGMA synchronous").scalar()
    assert synchronous == {True: 2, False: 1}  # FULL, NORMAL


@pytest.mark.parametrize("place", ["none/resop.db", "", "/proc/resop.db", "file/resop.db"])
def test_database_that_cannot_be_opened_is_unavailable(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    database = Database(f"sqlite:///{tmp_path / place}")
    asked: list[Callable[[], object]] = [
        database.create_tables,
        database.check,
        lambda: TaskStore(database).add(task()),
    ]
    for ask in asked:
        with pytest.raises(RecordsUnavailable):
            ask()
    database.close()


def test_database_that_goes_away_is_unavailable_and_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    database = Database(url(folder))
    database.create_tables()
    added = task()
    TaskStore(database).add(added)
    database.close()
    shutil.move(folder, tmp_path / "away")
    with pytest.raises(RecordsUnavailable):
        database.check()
    with pytest.raises(RecordsUnavailable):
        TaskStore(database).claim(added.id, "w")
    shutil.move(tmp_path / "away", folder)
    database.check()
    assert TaskStore(database).claim(added.id, "w") is not None
    database.close()


def test_next_process_reads_what_was_written(tmp_path: Path) -> None:
    added = task()
    for write in (True, False):
        database = Database(url(tmp_path))
        database.create_tables()
        if write:
            TaskStore(database).add(added)
        assert TaskStore(database).get(added.id) == added
        database.close()


def test_faults_of_sqlite_are_told_and_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "SQLITE_BUSY_SECONDS", 0.05)
    database = Database(url(tmp_path))
    database.create_tables()
    other = sqlite3.connect(tmp_path / "resop.db", isolation_level=None)
    for reason, begin, end in (
        ("is locked", "BEGIN EXCLUSIVE", "ROLLBACK"),
        ("is read-only", "PRAGMA query_only = ON", "PRAGMA query_only = OFF"),
        (
            "has no space left",
            "PRAGMA max_page_count = 1",
            "PRAGMA max_page_count = 9999999",
        ),
    ):
        own = other.execute if reason == "is locked" else _on_every_connection(database)
        own(begin)
        large = task(options={"input": "x" * 1_000_000})
        for _ in range(2):
            with pytest.raises(RecordsUnavailable, match=f"The database {reason}"):
                TaskStore(database).add(large)
        with pytest.raises(RecordsUnavailable, match=f"The database {reason}"):
            database.check()
        own(end)
        database.check()
        assert TaskStore(database).add(large) is None
        database.check()
    other.close()
    with database.read() as db:
        assert db.exec_driver_sql("SELECT count(*) FROM step_output").scalar_one() == 0
    database.close()
    (tmp_path / "resop.db").write_bytes(b"no database" * 9999)
    with pytest.raises(RecordsUnavailable, match=r"is no SQLite database|is damaged"):
        database.check()
    database.close()


def _on_every_connection(database: Database) -> Callable[[str], object]:
    def run(pragma: str) -> None:
        with database.read() as db:
            db.exec_driver_sql(pragma)

    return run
