"""Add the table of API keys."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from resop.storage.column_types import Json, UtcDateTime

revision = "0104"
down_revision = "0103"

BYTE_BY_BYTE: dict[str, Any] = {
    f"{dialect}_{part}": value
    for dialect in ("mysql", "mariadb")
    for part, value in (("charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}
"""Names are compared as they are, whatever the collation of the database."""


def upgrade() -> None:
    """Create the table and its indexes."""
    op.create_table(
        "api_key",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("username", sa.String(64), nullable=False),
        sa.Column("cluster", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("scope", Json, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.Column("last_used_at", UtcDateTime, nullable=True),
        **BYTE_BY_BYTE,
    )
    op.create_index("api_key_of_user", "api_key", ["username", "cluster"])
    op.create_index("ix_api_key_expires_at", "api_key", ["expires_at"])
