"""What there was before the first step: SQLModel made the tables."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Nothing: this marks where a database began."""
