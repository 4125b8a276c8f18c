"""What steps print is kept while they run."""

import sqlalchemy as sa
from alembic import op

from resop.storage.column_types import LongText

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Of the steps that are there nothing is known but the whole."""
    op.create_table(
        "output",
        sa.Column("task", sa.String(36), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("stream", sa.Integer(), nullable=False),
        sa.Column("text", LongText, nullable=False),
    )
