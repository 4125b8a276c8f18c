"""Forgets what is old: in small groups and a moment at a time, so that nobody waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from resop.storage.batches import BatchStore
from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.idempotency_keys import IdempotencyKeyStore
from resop.storage.models import now
from resop.storage.tasks import TaskStore

KEY_AGE = CREDENTIAL_AGE = timedelta(hours=24)
UNREADY_AGE = timedelta(minutes=10)
"""Of a batch that is still being written: its API process died."""
GROUP = 10
"""Tasks with megabytes of output take 13 ms each, and nobody else writes to SQLite meanwhile."""
LONGEST_SECONDS = 2.0
PAUSE_SECONDS = 0.02
"""Between groups: others want to write too."""

Forget = Callable[[datetime, int], int]
"""Forgets what was made before a moment, at most so much; tells how much it was."""


class RetentionCleaner:
    """What is too old, of one record."""

    def __init__(self, database: Database, history_days: int) -> None:
        """`history_days` is how long tasks are kept, 0 for ever."""
        batches = BatchStore(database)
        self._old: list[tuple[Forget, timedelta]] = [
            (IdempotencyKeyStore(database).delete_old, KEY_AGE),
            (CredentialStore(database).delete_expired, CREDENTIAL_AGE),
            (batches.delete_unready, UNREADY_AGE),
        ]
        if history_days:
            age = timedelta(days=history_days)
            self._old += [(TaskStore(database).delete_ended, age), (batches.delete_old, age)]

    def clean(self) -> None:
        """Forget some of it; what is left is for the next time. Takes 2 s at most."""
        deadline = time.monotonic() + LONGEST_SECONDS
        for forget, age in self._old:
            while forget(now() - age, GROUP) == GROUP and time.monotonic() < deadline:
                time.sleep(PAUSE_SECONDS)
