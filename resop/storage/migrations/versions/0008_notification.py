"""An address can be told of a task's end."""

import sqlalchemy as sa
from alembic import op

from resop.storage.column_types import LongText, Moment

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """None is to be told."""
    op.add_column("task", sa.Column("notify", LongText, nullable=True))
    op.create_table(
        "notification",
        sa.Column("task", sa.String(36), primary_key=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", Moment(), nullable=True, index=True),
        sa.Column("delivered_at", Moment(), nullable=True),
        sa.Column("last_error", LongText, nullable=True),
    )
