"""Requests with an Idempotency-Key are known again."""

import sqlalchemy as sa
from alembic import op

from resop.storage.column_types import Moment

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """None is known."""
    op.create_table(
        "idempotency_key",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("task", sa.String(36), nullable=False),
        sa.Column("created_at", Moment(), nullable=False, index=True),
    )
