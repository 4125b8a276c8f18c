"""Mark the schema that upgrades begin from: a new database is made from the models instead."""

revision = "0100"
down_revision = None


def upgrade() -> None:
    """Leave the database as it is."""
