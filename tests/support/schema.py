"""Build databases to upgrade, and compare upgraded tables with the models."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool
from sqlmodel import SQLModel

from resop.storage import migrations, schema_upgrade

LATER = "9000"
"""The migration that `add_later_migration` adds."""
_LATER = """\
import sqlalchemy as sa
from alembic import op

revision = "{later}"
down_revision = "{newest}"


def upgrade() -> None:
    op.add_column("task", sa.Column("later", sa.Integer, nullable=True))
    op.execute(sa.text("UPDATE task SET later = 7"))
"""
_TASK = """\
INSERT INTO task (id, kind, operator, action, username, cluster, credential, request, state,
    options, tags, time_limit, created_at, truncated, log)
VALUES ('t1', 'command', 'utils', 'id', 'ada', 'hpc', 'c', '', 'queued',
    '{}', '["old","Ünd"]', 9, '2026-01-02 03:04:05', 0, '[]')
"""
WITHOUT_CHAINS = [
    "DROP TABLE audit_writer",
    "ALTER TABLE audit DROP INDEX audit_by_writer",
    *(
        f"ALTER TABLE audit DROP COLUMN {name}"
        for name in ("client_request", "count", "items", "writer", "sequence", "digest")
    ),
]
"""Statements that undo the migration 0103 on MariaDB."""
WITHOUT_APPROVALS = [
    "DROP TABLE approval",
    "ALTER TABLE task DROP COLUMN approval",
    "ALTER TABLE task DROP COLUMN approved_at",
]
"""Statements that undo the migration 0105."""


def add_old_task(url: str) -> None:
    """Insert the task `t1` without using the models."""
    with create_engine(url, poolclass=NullPool).begin() as db:
        db.execute(text(_TASK))


def add_later_migration(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a later release, whose migration adds the column `task.later`, in this process."""
    (package,) = migrations.__path__
    versions = folder / "versions"
    versions.mkdir()
    (folder / "env.py").write_text(Path(package, "env.py").read_text())
    for file in Path(package, "versions").glob("*.py"):
        (versions / file.name).write_text(file.read_text())
    later = _LATER.format(later=LATER, newest=schema_upgrade.NEWEST)
    (versions / "9000_later.py").write_text(later)
    monkeypatch.setattr(schema_upgrade, "MIGRATIONS", str(folder))
    monkeypatch.setattr(schema_upgrade, "NEWEST", LATER)


def later_values(url: str) -> list[int]:
    """Return the value that the later migration wrote to each task."""
    with create_engine(url, poolclass=NullPool).connect() as db:
        return list(db.execute(text("SELECT later FROM task")).scalars())


def version_of(url: str) -> str | None:
    """Return the current migration of the database."""
    with create_engine(url, poolclass=NullPool).connect() as db:
        return MigrationContext.configure(db).get_current_revision()


def differences(url: str) -> list[object]:
    """Return the differences between the tables and the models."""
    with create_engine(url, poolclass=NullPool).connect() as db:
        return list(compare_metadata(MigrationContext.configure(db), SQLModel.metadata))
