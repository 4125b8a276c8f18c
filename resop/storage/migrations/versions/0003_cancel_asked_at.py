"""A running task may be marked as one to be cancelled."""

import sqlalchemy as sa
from alembic import op

from resop.storage.column_types import Moment

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """No task that is there is marked."""
    op.add_column("task", sa.Column("cancel_asked_at", Moment(), nullable=True))
