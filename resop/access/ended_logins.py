"""Find the logins that have ended since the last look, whatever messages were lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from resop.storage.login_ends import EndedLogin, LoginEnds
from resop.storage.models import now

LOOK_SECONDS = 1.5
"""The pause between two looks at the database, one indexed query each."""
OVERLAP = timedelta(minutes=10)
"""How far a look reaches behind the last one: clocks differ, and requests that were accepted before
the end of their login may still create tasks."""
EVER = datetime(1970, 1, 1, tzinfo=UTC)


class EndedLogins:
    """The logins that one process has to end; each is returned by many looks."""

    def __init__(self, ends: LoginEnds, since: datetime = EVER) -> None:
        self._ends = ends
        self._looked_at = since

    def look(self) -> list[EndedLogin]:
        """Return the logins that have ended. Blocks; raises RecordsUnavailable."""
        present = now()
        ended = self._ends.ended_since(self._looked_at)
        # Only now: the next look includes what this one could not read.
        self._looked_at = max(self._looked_at, present - OVERLAP)
        return ended
