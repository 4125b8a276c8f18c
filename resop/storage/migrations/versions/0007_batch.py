"""Tasks may be launched together, as a batch."""

import sqlalchemy as sa
from alembic import op

from resop.storage.column_types import Json, Moment

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """None was."""
    op.create_table(
        "batch",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("operator", sa.String(64), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("username", sa.String(64), nullable=False),
        sa.Column("cluster", sa.String(64), nullable=False),
        sa.Column("options", Json(), nullable=False),
        sa.Column("sweep", Json(), nullable=True),
        sa.Column("combine", sa.String(16), nullable=True),
        sa.Column("parameters", Json(), nullable=False),
        sa.Column("secret", sa.Boolean(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("at_once", sa.Integer(), nullable=True),
        sa.Column("tags", Json(), nullable=False),
        sa.Column("retry_of", sa.String(36), nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("ready_at", Moment(), nullable=True),
        sa.Column("dealt_at", Moment(), nullable=True),
        sa.Column("cancel_asked_at", Moment(), nullable=True),
        sa.Column("ended_at", Moment(), nullable=True),
        sa.Index("batch_of_user", "username", "cluster", "id"),
        sa.Index("batch_by_end", "ended_at"),
    )
    op.add_column("task", sa.Column("batch", sa.String(36), nullable=True))
    op.add_column("task", sa.Column("number", sa.Integer(), nullable=True))
    op.add_column("task", sa.Column("item", Json(), nullable=True))
    op.add_column("task", sa.Column("dealt_at", Moment(), nullable=True))
    some = sa.text("batch IS NOT NULL")
    op.create_index("task_of_batch", "task", ["batch", "number"], sqlite_where=some)
    columns = ["batch", "state", "dealt_at", "number"]
    op.create_index("task_of_batch_by_state", "task", columns, sqlite_where=some)
