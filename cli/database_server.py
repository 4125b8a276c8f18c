"""`resop doctor`: what is weak in the database server, and a clock that disagrees with it."""

from __future__ import annotations

import contextlib

from resop.clock import CLOCK, NOTABLE_SECONDS
from resop.config.settings import Settings
from resop.errors import RecordsUnavailable
from resop.storage.database import Database
from resop.storage.server_settings import weaknesses


def find_server_weaknesses(settings: Settings) -> list[str]:
    """Return what is weak, one sentence each; nothing for SQLite or a server without an answer."""
    if not settings.DATABASE_URL or settings.DATABASE_URL.startswith("sqlite"):
        return []
    try:
        with contextlib.closing(Database(settings.database_url)) as database, database.read() as db:
            found = [f"DATABASE_URL: {sentence}" for sentence in weaknesses(db)]
    except RecordsUnavailable:
        return []
    if abs(CLOCK.skew) > NOTABLE_SECONDS:
        found.append(
            f"DATABASE_URL: the clock of this machine is {CLOCK.skew:+.1f} s away from the "
            "server's, which counts: synchronize the clocks of all machines (NTP)"
        )
    return found
