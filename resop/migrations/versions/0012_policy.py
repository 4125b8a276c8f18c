"""A credential knows the groups of its user; the waiting tasks of a user are counted."""

import sqlalchemy as sa
from alembic import op

from resop.columns import LongText

revision = "0012"
down_revision = "0006"


def upgrade() -> None:
    """Of those that are there they are not known."""
    op.add_column("credential", sa.Column("remote_groups", LongText, nullable=True))
    op.drop_index("task_by_state", "task")
    op.create_index("task_by_state", "task", ["state", "worker", "username", "cluster"])
