"""The tables: made once, upgraded with what is in them, never touched by an older resop."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from resop.errors import InvalidSettings
from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.schema_upgrade import NEWEST
from resop.storage.task_search import TaskFilter, TaskSearch
from resop.storage.tasks import TaskStore
from tests.support.schema import (
    LATER,
    WITHOUT_APPROVALS,
    add_later_migration,
    add_old_task,
    differences,
    later_values,
    version_of,
)

RELEASED = Path(__file__).parents[2] / "data" / "release.sql"
"""A database as the release before made and used it."""


@contextlib.contextmanager
def prepared(url: str) -> Iterator[Database]:
    with contextlib.closing(Database(url)) as database:
        database.create_tables()
        yield database


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/resop.db"


def test_new_database_has_the_newest_version(url: str) -> None:
    for _ in range(2):
        with prepared(url):
            assert (version_of(url), differences(url)) == (NEWEST, [])


def test_database_of_an_earlier_release_is_upgraded_with_its_tasks(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with prepared(url):
        add_old_task(url)
    folder = tmp_path / "migrations"
    folder.mkdir()
    add_later_migration(folder, monkeypatch)
    with prepared(url) as database:
        task = TaskStore(database).get("t1")
    assert task is not None and (task.tags, task.pending_undo) == (["old", "Ünd"], None)
    assert (version_of(url), later_values(url)) == (LATER, [7])


def test_file_of_the_release_before_is_upgraded(url: str, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "resop.db")) as db:
        db.executescript(RELEASED.read_text())
    assert version_of(url) is not None
    with prepared(url) as database:
        (task,) = (
            TaskSearch(database).page("ada", "hpc", limit=9, matching=TaskFilter(tag=["Ünd"])).tasks
        )
        found = TaskStore(database).get(task["id"])
    assert found is not None and found.output == "uid=1000(ada)\n"
    assert (version_of(url), differences(url)) == (NEWEST, [])


@pytest.mark.parametrize("undone", [1, 2, 3])
def test_upgrade_that_was_broken_off_is_completed(url: str, undone: int) -> None:
    with prepared(url):
        add_old_task(url)
    with create_engine(url, poolclass=NullPool).begin() as db:
        for statement in WITHOUT_APPROVALS[:undone]:
            db.execute(text(statement))
        db.execute(text("UPDATE alembic_version SET version_num = '0104'"))
    with prepared(url) as database:
        task = TaskStore(database).get("t1")
    assert task is not None and (task.approval, task.approved_at) == (None, None)
    assert (version_of(url), differences(url)) == (NEWEST, [])


def test_tables_without_a_version_are_refused_and_left_alone(url: str) -> None:
    with create_engine(url, poolclass=NullPool).begin() as db:
        db.execute(text("CREATE TABLE task (id INTEGER)"))
    with pytest.raises(InvalidSettings, match="its tables have no version"), prepared(url):
        pass
    assert version_of(url) is None


def test_database_of_a_newer_resop_is_refused_and_left_alone(url: str) -> None:
    with prepared(url):
        pass
    with create_engine(url, poolclass=NullPool).begin() as db:
        db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    said = "DATABASE_URL: its tables have version 9999"
    with pytest.raises(InvalidSettings, match=said), prepared(url):
        pass
    assert version_of(url) == "9999"


def test_logins_of_the_release_before_are_ended_since_nobody_checked_their_names(
    url: str, tmp_path: Path
) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "resop.db")) as db:
        db.executescript(RELEASED.read_text())
        db.execute(
            "INSERT INTO credential (id, username, cluster, kind, public_key, created_at, "
            "expires_at) VALUES ('c', 'alice:x', 'hpc', 'key', '', '2026-01-01', '2999-01-01')"
        )
        db.commit()
    with prepared(url) as database:
        assert CredentialStore(database).live() == []


@pytest.mark.parametrize("collation", ["NOCASE", '"rtrim"'])
def test_tables_that_do_not_compare_byte_by_byte_are_refused(url: str, collation: str) -> None:
    with prepared(url):
        pass
    with create_engine(url, poolclass=NullPool).begin() as db:
        db.execute(text(f"CREATE INDEX weak ON task (username COLLATE {collation})"))
    said = f"DATABASE_URL: weak compares texts with the collation {collation.strip(chr(34))}"
    with pytest.raises(InvalidSettings, match=said), prepared(url):
        pass
