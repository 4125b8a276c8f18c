"""The tables: made once, upgraded with what is in them, never touched by an older resop."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from resop.errors import InvalidSettings
from resop.records import Records
from resop.schema import NEWEST
from tests.support.schema import as_at_first, differences, version_of


def prepare(url: str) -> Records:
    records = Records(url)
    try:
        records.create_tables()
    finally:
        records.close()
    return records


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/resop.db"


def test_new_database_is_of_the_newest_version(url: str) -> None:
    for _ in range(2):
        prepare(url)
        assert (version_of(url), differences(url)) == (NEWEST, [])


def test_database_of_the_first_version_is_upgraded_with_its_tasks(url: str) -> None:
    as_at_first(url)
    assert (version_of(url), differences(url) != []) == (None, True)
    task = prepare(url).task("t1")
    assert task is not None and task.to_undo is None
    assert (version_of(url), differences(url)) == (NEWEST, [])


def test_database_of_a_newer_resop_is_refused_and_left_alone(url: str) -> None:
    prepare(url)
    with create_engine(url, poolclass=NullPool).begin() as db:
        db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(InvalidSettings, match="DATABASE_URL: its tables are of a version 9999"):
        prepare(url)
    assert version_of(url) == "9999"
