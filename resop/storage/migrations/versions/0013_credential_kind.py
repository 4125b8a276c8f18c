"""Credentials are of several kinds; a kept session is with one worker."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Those that are there are keys."""
    op.add_column(
        "credential", sa.Column("kind", sa.String(16), nullable=False, server_default="key")
    )
    op.add_column("credential", sa.Column("worker", sa.String(128)))
