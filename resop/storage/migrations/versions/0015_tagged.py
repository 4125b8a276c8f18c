"""Tasks are found by their tags in a table of their own."""

import sqlalchemy as sa
from alembic import op

from resop.storage.column_types import Json
from resop.storage.tags import tagged

revision = "0015"
down_revision = "0014"

GROUP = 1000


def upgrade() -> None:
    """Those that have tags already are found by them, too."""
    table = op.create_table(
        "tagged",
        sa.Column("tag", sa.String(64), primary_key=True),
        sa.Column("task", sa.String(36), primary_key=True),
        sqlite_with_rowid=False,
    )
    names = ("id", "username", "cluster")
    task = sa.table("task", *map(sa.column, names), sa.column("tags", Json))
    last, db = "", op.get_bind()
    some = sa.select(task).where(sa.type_coerce(task.c.tags, sa.Text) != "[]")
    while rows := db.execute(some.where(task.c.id > last).order_by(task.c.id).limit(GROUP)).all():
        last = rows[-1].id
        found = [each for row in rows for each in tagged(*row)]
        op.bulk_insert(table, [each.model_dump() for each in found])
    op.create_index("tagged_by_task", "tagged", ["task"])
