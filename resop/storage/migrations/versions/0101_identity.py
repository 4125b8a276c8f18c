"""Store the number of an account, compare texts byte by byte, and end logins of unproven names."""

import sqlalchemy as sa
from alembic import op

revision = "0101"
down_revision = "0100"

TABLES = (
    *("task", "step", "step_output", "task_tag", "batch", "idempotency_key"),
    *("webhook_delivery", "credential", "worker", "audit"),
)


def upgrade() -> None:
    """Convert MariaDB's tables, add `uid`, and end the logins whose names nobody has checked."""
    if op.get_bind().dialect.name != "sqlite":
        for table in TABLES:
            op.execute(
                f"ALTER TABLE `{table}` CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
            )
    op.add_column("credential", sa.Column("uid", sa.BigInteger(), nullable=True))
    credential = sa.table(
        "credential", sa.column("revoked_at", sa.DateTime()), sa.column("encrypted_key")
    )
    op.execute(
        credential.update()
        .where(credential.c.revoked_at.is_(None))
        .values(revoked_at=sa.func.current_timestamp(), encrypted_key=None)
    )
