"""Give audit entries a place in a chain, a count, the ids of clients, and the items of batches."""

import sqlalchemy as sa
from alembic import op

from resop.storage.column_types import Json, UtcDateTime

revision = "0103"
down_revision = "0102"


def upgrade() -> None:
    """Add the columns and the table of writers; earlier entries are in no chain."""
    for name, kind in (
        ("client_request", sa.String(64)),
        ("count", sa.Integer),
        ("items", Json),
        ("writer", sa.String(36)),
        ("sequence", sa.Integer),
        ("digest", sa.String(64)),
    ):
        op.add_column("audit", sa.Column(name, kind, nullable=True))
    op.create_index("audit_by_writer", "audit", ["writer", "sequence"], unique=True)
    op.create_table(
        "audit_writer",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("process", sa.String(128), nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("activity", sa.Integer, nullable=False),
        sa.Column("seen_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_audit_writer_seen_at", "audit_writer", ["seen_at"])
