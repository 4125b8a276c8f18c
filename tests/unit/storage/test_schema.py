"""The tables: made once, upgraded with what is in them, never touched by an older resop."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from resop.errors import InvalidSettings
from resop.storage.schema import NEWEST
from resop.storage.task_search import History, Wanted
from resop.storage.tasks import Records
from tests.support.schema import as_at_first, differences, version_of


@contextlib.contextmanager
def prepared(url: str) -> Iterator[Records]:
    with contextlib.closing(Records(url)) as records:
        records.create_tables()
        yield records


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/resop.db"


def test_new_database_is_of_the_newest_version(url: str) -> None:
    for _ in range(2):
        with prepared(url):
            assert (version_of(url), differences(url)) == (NEWEST, [])


def test_database_of_the_first_version_is_upgraded_with_its_tasks(url: str) -> None:
    as_at_first(url)
    assert (version_of(url), differences(url) != []) == (None, True)
    with prepared(url) as records:
        task = records.task("t1")
        for tag in ("old", "Ünd"):
            (found,) = History(records).tasks("ada", "hpc", limit=9, wanted=Wanted(tag=[tag]))
            assert found["id"] == "t1"
    assert task is not None and task.to_undo is None
    assert (version_of(url), differences(url)) == (NEWEST, [])


def test_database_of_a_newer_resop_is_refused_and_left_alone(url: str) -> None:
    with prepared(url):
        pass
    with create_engine(url, poolclass=NullPool).begin() as db:
        db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    said = "DATABASE_URL: its tables are of a version 9999"
    with pytest.raises(InvalidSettings, match=said), prepared(url):
        pass
    assert version_of(url) == "9999"
