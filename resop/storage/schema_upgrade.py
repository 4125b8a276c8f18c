"""Create the database schema, and upgrade one that an earlier release made.

`alembic_version` in the database names the last migration of `migrations/versions` that it has.
Alembic itself is imported only when a migration must run.
"""

from __future__ import annotations

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, inspect, text

from resop.storage.collation import check_collations
from resop.storage.models import METADATA
from resop.storage.server_settings import check_server

NEWEST = "0105"
"""The last migration; a new database starts with it."""
MIGRATIONS = "resop.storage:migrations"
"""The package in which Alembic finds its environment and the migrations."""
_VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
"""The table in which Alembic stores the version."""


def prepare_tables(db: Connection) -> None:
    """Create or upgrade the tables of a database; the caller holds a lock.

    Raises SQLAlchemy's DBAPIError, and LookupError for a schema that this release does not know:
    that of a newer release, or one from before the first release; also for tables that do not
    compare texts byte by byte and cannot be converted, and for a server that refuses writes.
    """
    check_server(db)
    _create_or_upgrade(db)
    check_collations(db)


def _create_or_upgrade(db: Connection) -> None:
    tables = set(inspect(db).get_table_names())
    if "alembic_version" in tables:
        version = db.execute(text("SELECT version_num FROM alembic_version")).scalar()
        if version != NEWEST:
            _upgrade(db, version)
        return
    if "task" in tables:
        raise LookupError(
            "its tables have no version: they are not resop's, or from before the first release"
        )
    METADATA.create_all(db)
    _VERSION.create(db, checkfirst=True)
    db.execute(insert(_VERSION).values(version_num=NEWEST))


def _upgrade(db: Connection, version: str | None) -> None:
    """Run the migrations that come after `version`."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config(attributes={"connection": db})
    config.set_main_option("script_location", MIGRATIONS)
    try:
        command.upgrade(config, NEWEST)
    except CommandError as fault:
        raise LookupError(
            f"its tables have version {version}, which this release does not know; "
            "use a newer resop"
        ) from fault
