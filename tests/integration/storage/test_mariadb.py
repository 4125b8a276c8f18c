"""MariaDB with other defaults than resop's: names are distinct, and every text is stored."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from resop.errors import InvalidSettings
from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.models import METADATA
from resop.storage.schema_upgrade import NEWEST
from resop.storage.task_search import TaskFilter, TaskSearch
from resop.storage.tasks import NewTask, TaskStore
from tests.support.schema import (
    WITHOUT_APPROVALS,
    WITHOUT_CHAINS,
    add_old_task,
    differences,
    version_of,
)
from tests.support.services import MariaDB
from tests.support.tasks import new_task

DEFAULTS = {
    "general": "CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
    "latin": "CHARACTER SET latin1",
    "unicode": "CHARACTER SET utf8mb3 COLLATE utf8mb3_unicode_ci",
    "newest": "CHARACTER SET utf8mb4 COLLATE uca1400_ai_ci",
}
LOOK_ALIKE = ["sfcase", "sfCase", "sfmuller", "sfmüller", "日本", "日木"]
WEAK = "CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"


@pytest.fixture(params=DEFAULTS)
def url(request: pytest.FixtureRequest, server: MariaDB) -> str:
    """Create an empty database with other defaults."""
    name = f"{request.param}_{len(request.node.name)}_{abs(hash(request.node.name)) % 10**6}"
    url = server.database(name)
    with server.administrator() as cursor:
        cursor.execute(f"ALTER DATABASE `{name}` {DEFAULTS[request.param]}")
    return url


@contextlib.contextmanager
def prepared(url: str) -> Iterator[Database]:
    with contextlib.closing(Database(url)) as database:
        database.create_tables()
        yield database


def change(url: str, *statements: str) -> None:
    with create_engine(url, poolclass=NullPool).begin() as db:
        for statement in statements:
            db.execute(text(statement))


def collations(url: str) -> set[str]:
    with create_engine(url, poolclass=NullPool).connect() as db:
        return set(
            db.execute(
                text(
                    "SELECT DISTINCT collation_name FROM information_schema.columns "
                    "WHERE table_schema = DATABASE() AND table_name != 'alembic_version' "
                    "AND collation_name IS NOT NULL"
                )
            ).scalars()
        )


def owned(database: Database, username: str) -> list[str]:
    tasks = TaskSearch(database).page(username, "hpc", limit=99, matching=TaskFilter()).tasks
    return [task["username"] for task in tasks]


def test_users_whose_names_look_alike_are_told_apart(url: str) -> None:
    with prepared(url) as database:
        store = TaskStore(database)
        new = [NewTask(new_task(username=name, cluster="hpc")) for name in LOOK_ALIKE]
        assert store.add_all(new, max_queued=1) == [None] * len(new)
        for name in LOOK_ALIKE:
            assert owned(database, name) == [name]


def test_every_text_survives(url: str) -> None:
    words = "日本 😀 Ünd \u0301"
    with prepared(url) as database:
        task = new_task(username="日本", cluster="hpc", note=words, options={"x": words})
        store = TaskStore(database)
        store.add_all([NewTask(task)])
        read = store.get(task.id)
    assert read is not None and (read.note, read.options) == (words, {"x": words})


def test_tables_of_an_earlier_release_are_converted_with_their_content(url: str) -> None:
    with prepared(url):
        add_old_task(url)
    change(
        url,
        *(f"ALTER TABLE `{table}` {WEAK}" for table in METADATA.tables),
        "DROP TABLE api_key",
        "ALTER TABLE credential DROP COLUMN uid",
        *WITHOUT_CHAINS,
        *WITHOUT_APPROVALS,
        "INSERT INTO credential (id, username, cluster, kind, public_key, created_at, expires_at)"
        " VALUES ('c', 'alice:x', 'hpc', 'key', '', now(), now() + INTERVAL 1 DAY)",
        "UPDATE alembic_version SET version_num = '0100'",
    )
    with prepared(url) as database:
        assert (version_of(url), differences(url)) == (NEWEST, [])
        task = TaskStore(database).get("t1")
        assert CredentialStore(database).live() == [], "a name that nobody checked"
    assert task is not None and task.tags == ["old", "Ünd"]
    assert collations(url) == {"utf8mb4_bin"}


def test_tables_that_were_changed_are_converted_at_start(url: str) -> None:
    with prepared(url):
        pass
    change(url, f"ALTER TABLE task {WEAK}", "ALTER TABLE audit CONVERT TO CHARACTER SET latin1")
    with prepared(url):
        assert collations(url) == {"utf8mb4_bin"}


def test_tables_that_cannot_be_converted_stop_the_start(url: str, server: MariaDB) -> None:
    with prepared(url):
        pass
    name = url.rpartition("/")[2].partition("?")[0]
    change(url, f"ALTER TABLE task {WEAK}")
    with server.administrator() as cursor:
        for host in ("127.0.0.1", "localhost"):
            cursor.execute(f"REVOKE ALTER ON `{name}`.* FROM `{name}`@`{host}`")
    said = "do not compare texts byte by byte"
    with pytest.raises(InvalidSettings, match=said) as refused, prepared(url):
        pass
    statement = "ALTER TABLE `task` CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    assert refused.value.message.endswith(f"As the database's administrator, run: {statement}")
    with server.administrator() as cursor:
        cursor.execute(f"USE `{name}`")
        cursor.execute(statement)
    with prepared(url):
        assert collations(url) == {"utf8mb4_bin"}


def test_a_connection_that_cannot_carry_every_text_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings, match="charset=latin1 cannot carry every text"):
        Database(url.replace("charset=utf8mb4", "charset=latin1"))
