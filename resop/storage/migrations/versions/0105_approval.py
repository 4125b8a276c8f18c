"""Add the table of requests for approval, and what a task says of its own."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from resop.storage.column_types import LongText, UtcDateTime

revision = "0105"
down_revision = "0104"

BYTE_BY_BYTE: dict[str, Any] = {
    f"{dialect}_{part}": value
    for dialect in ("mysql", "mariadb")
    for part, value in (("charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}
"""Names are compared as they are, whatever the collation of the database."""


def upgrade() -> None:
    """Add the columns, the table and its indexes: what a broken-off upgrade has not added yet."""
    present = sa.inspect(op.get_bind())
    columns = {each["name"] for each in present.get_columns("task")}
    for column in (
        sa.Column("approval", sa.String(36), nullable=True),
        sa.Column("approved_at", UtcDateTime, nullable=True),
    ):
        if column.name not in columns:
            op.add_column("task", column)
    if not present.has_table("approval"):
        _create_table()
        present = sa.inspect(op.get_bind())
    indexes = {each["name"] for each in present.get_indexes("approval")}
    for name, indexed in (
        ("approval_by_state", ["state", "expires_at"]),
        ("ix_approval_batch", ["batch"]),
    ):
        if name not in indexes:
            op.create_index(name, "approval", indexed)


def _create_table() -> None:
    op.create_table(
        "approval",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("task", sa.String(36), nullable=True),
        sa.Column("batch", sa.String(36), nullable=True),
        sa.Column("kind", sa.String(16), nullable=False),
        *(sa.Column(name, sa.String(64), nullable=False) for name in ("operator", "action")),
        *(sa.Column(name, sa.String(64), nullable=False) for name in ("username", "cluster")),
        sa.Column("credential", sa.String(36), nullable=False),
        sa.Column("uid", sa.BigInteger, nullable=True),
        sa.Column("rule", sa.String(255), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("notify", LongText, nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("decided_at", UtcDateTime, nullable=True),
        *(sa.Column(name, sa.String(64), nullable=False) for name in ("decided_by", "decided_on")),
        sa.Column("decided_with", sa.String(36), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("signature", sa.String(64), nullable=False),
        **BYTE_BY_BYTE,
    )
