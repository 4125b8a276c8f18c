"""An address can be told of a batch's end."""

import sqlalchemy as sa
from alembic import op

from resop.storage.column_types import LongText

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """None is to be told."""
    op.add_column("batch", sa.Column("notify", LongText, nullable=True))
