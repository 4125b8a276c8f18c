"""Opens the service's database for commands that read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from resop.config.settings import Settings
from resop.errors import SetupError
from resop.storage.database import Database

SQLITE = "sqlite:///"


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """Open the database, upgraded if need be, and close it at the end.

    Raises SetupError when there is none: to create an empty one would answer the wrong question.
    """
    file = Path(settings.database_url.removeprefix(SQLITE))
    if settings.database_url.startswith(SQLITE) and not file.exists():
        if settings.DATABASE_URL is None:
            raise SetupError(
                f"No database in {settings.DATA_DIR}/: start the service here first, "
                "or set DATA_DIR"
            )
        raise SetupError(f"No database at {file}: start the service first, or set DATABASE_URL")
    with closing(Database(settings.database_url)) as database:
        database.create_tables()
        yield database
