"""Deletes old data in small groups and for a short time, so that nobody waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from resop.storage.api_keys import ApiKeyStore
from resop.storage.batches import BatchStore
from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.idempotency_keys import IdempotencyKeyStore
from resop.storage.models import now
from resop.storage.tasks import TaskStore

KEY_AGE = CREDENTIAL_AGE = timedelta(hours=24)
UNREADY_AGE = timedelta(minutes=10)
"""Age of a batch that is still being written: its API process died."""
DELETED_PER_GROUP = 10
"""Rows of one transaction: a task with megabytes of output takes 13 ms, and SQLite has one writer
at a time."""
MAX_CLEAN_SECONDS = 2.0
GROUP_PAUSE_SECONDS = 0.02
"""Pause between groups, in which others can write."""

Delete = Callable[[datetime, int], int]
"""Deletes what was created before a moment, up to a number of rows; returns how many it deleted."""


class RetentionCleaner:
    """Deletes the old data of one database."""

    def __init__(self, database: Database, history_days: int) -> None:
        """Set up; ended tasks are deleted after `history_days` days, or never if that is 0."""
        batches = BatchStore(database)
        self._rules: list[tuple[Delete, timedelta]] = [
            (IdempotencyKeyStore(database).delete_old, KEY_AGE),
            (CredentialStore(database).delete_expired, CREDENTIAL_AGE),
            (ApiKeyStore(database).delete_expired, CREDENTIAL_AGE),
            (batches.delete_unready, UNREADY_AGE),
        ]
        if history_days:
            age = timedelta(days=history_days)
            self._rules += [(TaskStore(database).delete_ended, age), (batches.delete_old, age)]

    def clean(self) -> None:
        """Delete old data for at most 2 s; the rest remains for the next call."""
        deadline = time.monotonic() + MAX_CLEAN_SECONDS
        for delete, age in self._rules:
            while delete(now() - age, DELETED_PER_GROUP) == DELETED_PER_GROUP:
                if time.monotonic() >= deadline:
                    break
                time.sleep(GROUP_PAUSE_SECONDS)
