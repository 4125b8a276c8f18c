"""Steps that survive: what they are called, and how many workers a task has had."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Of the tasks and steps that are there none survives."""
    op.add_column("task", sa.Column("hand_overs", sa.Integer(), nullable=True))
    op.add_column("step", sa.Column("keep", sa.String(80), nullable=True))
