"""A step says how far its task's log was when it began."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Of the steps that are there it is not known: they follow on the log, or go before it."""
    op.add_column("step", sa.Column("log_lines", sa.Integer(), nullable=False, server_default="0"))
