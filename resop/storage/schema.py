"""The tables: made where there are none, brought up to date where an older version made them.

`alembic_version` in the database says which of the steps in `resop/migrations/versions` were
taken. Alembic itself is imported only when one has to be.
"""

from __future__ import annotations

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, inspect, text
from sqlmodel import SQLModel

NEWEST = "0015"
"""The last step; a database made now begins there."""
FIRST = "0001"
"""What a database had that says nothing about itself."""
_VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
"""As Alembic makes it."""


def prepare_tables(db: Connection) -> None:
    """Make or upgrade the tables of a database; the caller lets one process do so at a time.

    Raises sqlalchemy's DBAPIError, and LookupError for a database of a newer resop.
    """
    tables = set(inspect(db).get_table_names())
    if "alembic_version" in tables:
        found = db.execute(text("SELECT version_num FROM alembic_version")).scalar()
    else:
        found = FIRST if "task" in tables else None
    if found == NEWEST:
        return
    if found is not None:
        _upgrade(db, found)
        return
    SQLModel.metadata.create_all(db)
    _VERSION.create(db, checkfirst=True)
    db.execute(insert(_VERSION).values(version_num=NEWEST))


def _upgrade(db: Connection, found: str) -> None:
    """Take the steps after `found`."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config(attributes={"connection": db})
    config.set_main_option("script_location", "resop.storage:migrations")
    try:
        if found == FIRST:
            command.stamp(config, FIRST)
        command.upgrade(config, NEWEST)
    except CommandError as fault:
        raise LookupError(
            f"its tables are of a version {found} that this resop does not know"
        ) from fault
