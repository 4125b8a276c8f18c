"""What an upgrade of the tables is judged by."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool
from sqlmodel import SQLModel


def as_at_first(url: str) -> None:
    """Make the tables that the first version made, with a task in them."""
    engine = create_engine(url, poolclass=NullPool)
    on_task = "" if engine.dialect.name == "sqlite" else " ON task"
    with engine.begin() as db:
        SQLModel.metadata.create_all(db)
        for index in ("task_of_batch", "task_of_batch_by_state", "task_by_state"):
            db.execute(text(f"DROP INDEX {index}{on_task}"))
        db.execute(text("CREATE INDEX task_by_state ON task (state, worker)"))
        in_batch = ("batch", "number", "item", "dealt_at")
        for column in ("to_undo", "cancel_asked_at", "note", *in_batch, "hand_overs", "notify"):
            db.execute(text(f"ALTER TABLE task DROP COLUMN {column}"))
        for column in ("remote_groups", "kind", "worker"):
            db.execute(text(f"ALTER TABLE credential DROP COLUMN {column}"))
        for column in ("log_lines", "keep"):
            db.execute(text(f"ALTER TABLE step DROP COLUMN {column}"))
        for table in ("idempotency_key", "output", "batch", "notification", "audit", "tagged"):
            db.execute(text(f"DROP TABLE {table}"))
        db.execute(
            text(
                "INSERT INTO task (id, kind, operator, action, username, cluster, credential, "
                "request, state, options, tags, time_limit, created_at, truncated, log) VALUES "
                "('t1', 'command', 'utils', 'id', 'ada', 'hpc', 'c', '', 'queued', '{}', "
                """'["old","Ünd"]', 9, """
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
