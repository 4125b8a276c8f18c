"""What would undo a running task's steps is kept with the task."""

import sqlalchemy as sa
from alembic import op

from resop.storage.column_types import Json

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Empty for the tasks that are there."""
    op.add_column("task", sa.Column("to_undo", Json(), nullable=True))
