"""Groups of a credential's user, an index to count a user's waiting tasks, the audit table."""

import sqlalchemy as sa
from alembic import op

from resop.storage.column_types import Json, LongText, Moment

revision = "0012"
down_revision = "0010"


def upgrade() -> None:
    """Of those that are there they are not known."""
    op.add_column("credential", sa.Column("remote_groups", Json(), nullable=True))
    op.drop_index("task_by_state", "task")
    op.create_index("task_by_state", "task", ["state", "worker", "username", "cluster", "batch"])
    op.create_table(
        "audit",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("username", sa.String(64), nullable=False),
        sa.Column("cluster", sa.String(64), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("path", LongText, nullable=False),
        sa.Column("action", sa.String(129), nullable=False),
        sa.Column("options", Json(), nullable=True),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(64), nullable=True),
        sa.Column("task", sa.String(36), nullable=True),
        sa.Column("request", sa.String(64), nullable=False),
    )
    op.create_index("audit_of_user", "audit", ["username", "id"])
