"""A task has a note of its user's."""

import sqlalchemy as sa
from alembic import op

from resop.storage.column_types import LongText

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """None is written."""
    op.add_column("task", sa.Column("note", LongText, nullable=True))
