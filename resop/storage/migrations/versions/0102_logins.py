"""Record where a login came from, when it was used and why it ended; add the blocked users."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from resop.storage.column_types import UtcDateTime

revision = "0102"
down_revision = "0101"


BYTE_BY_BYTE: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in (("charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}
"""How MariaDB compares names: as the statements expect, and as SQLite does."""


def upgrade() -> None:
    """Add the columns, their indexes and the table: what a broken-off upgrade has not added yet."""
    present = sa.inspect(op.get_bind())
    columns = {each["name"] for each in present.get_columns("credential")}
    indexes = {each["name"] for each in present.get_indexes("credential")}
    for column in (
        sa.Column("end_reason", sa.String(500), nullable=False, server_default=""),
        sa.Column("keep_running", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("address", sa.String(64), nullable=False, server_default=""),
        sa.Column("user_agent", sa.String(200), nullable=False, server_default=""),
        sa.Column("last_used_at", UtcDateTime, nullable=True),
    ):
        if column.name not in columns:
            op.add_column("credential", column)
    for name in ("revoked_at", "expires_at"):
        if f"ix_credential_{name}" not in indexes:
            op.create_index(f"ix_credential_{name}", "credential", [name])
    if not present.has_table("blocked_user"):
        op.create_table(
            "blocked_user",
            sa.Column("username", sa.String(64), primary_key=True),
            sa.Column("cluster", sa.String(64), primary_key=True),
            sa.Column("reason", sa.String(500), nullable=False),
            sa.Column("since", UtcDateTime, nullable=False),
            sa.Column("blocked_by", sa.String(160), nullable=False),
            **BYTE_BY_BYTE,
        )
