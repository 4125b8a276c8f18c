"""What an upgrade of the tables is judged by."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool
from sqlmodel import SQLModel


def as_at_first(url: str) -> None:
    """Make the tables that the first version made, with a task in them."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as db:
        SQLModel.metadata.create_all(db)
        for column in ("to_undo", "cancel_asked_at", "note"):
            db.execute(text(f"ALTER TABLE task DROP COLUMN {column}"))
        db.execute(text("ALTER TABLE step DROP COLUMN log_lines"))
        for column in ("kind", "worker"):
            db.execute(text(f"ALTER TABLE credential DROP COLUMN {column}"))
        db.execute(text("DROP TABLE idempotency_key"))
        db.execute(
            text(
                "INSERT INTO task (id, kind, operator, action, username, cluster, credential, "
                "request, state, options, tags, time_limit, created_at, truncated, log) VALUES "
                "('t1', 'command', 'utils', 'id', 'ada', 'hpc', 'c', '', 'queued', '{}', '[]', 9, "
                "'2026-01-02 03:04:05', 0, '[]')"
            )
        )


def version_of(url: str) -> str | None:
    """What the database says of its tables."""
    with create_engine(url, poolclass=NullPool).connect() as db:
        return MigrationContext.configure(db).get_current_revision()


def differences(url: str) -> list[object]:
    """Where the tables are not those that are made today."""
    with create_engine(url, poolclass=NullPool).connect() as db:
        return list(compare_metadata(MigrationContext.configure(db), SQLModel.metadata))
