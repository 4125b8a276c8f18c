"""Words between processes over Redis pub/sub: of tasks that change, end or are to end, of batches
to be dealt out, of logouts.

A word makes its hearer look into the record, which alone is true; a small result, already in
the record and masked as it is there, comes with the word and saves that look. A word that is
lost (Redis restarted) costs nothing but time: a new subscription makes everybody look once more.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

import redis
import redis.asyncio

from resop.errors import QueueUnavailable

log = logging.getLogger(__name__)

ENDED = "resop:ended"
CHANGED = "resop:changed"
CANCEL = "resop:cancel"
BATCH = "resop:batch"
LOGGED_OUT = "resop:logged-out"
LONGEST_RESULT = 16_384
"""Characters of a result that travels with the word: every API process hears every word."""


ANYBODYS = "acted *"


def whose(username: str, cluster: str, *, asked: bool) -> str:
    """Whose task has ended, and whether it only asked, or may have changed what others answer."""
    return f"{'asked' if asked else 'acted'} {owner(username, cluster)}"


def owner(username: str, cluster: str) -> str:
    """A user on a cluster, as a word without spaces."""
    return f"{quote(username)}@{cluster}"


class EventPublisher:
    """Says that tasks have changed, ended, or are to be. Blocks; one for each process."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)

    def ended(
        self,
        results: Mapping[str, Mapping[str, Any] | None],
        whose: Mapping[str, str] | None = None,
    ) -> None:
        """Tell every API process which tasks have ended, with what is in their record.

        `whose` they were (see there), where that is known. Raises QueueUnavailable when Redis is
        away.
        """
        words = (
            _word(task_id, (whose or {}).get(task_id) or ANYBODYS, result)
            for task_id, result in results.items()
        )
        self._publish(ENDED, *words)

    def many_ended(self) -> None:
        """Let every API process look after all that it waits for; as above."""
        self._publish(ENDED, "")

    def batch(self) -> None:
        """Tell every worker that there may be something to deal out; as above."""
        self._publish(BATCH, "")

    def changed(self, task_ids: Iterable[str]) -> None:
        """Tell every API process that these tasks have something new; as above."""
        self._publish(CHANGED, " ".join(task_ids))

    def cancel(self, task_id: str) -> None:
        """Tell every worker that a task is to be cancelled; as above."""
        self._publish(CANCEL, task_id)

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _publish(self, channel: str, *words: str) -> None:
        try:
            with self._redis.pipeline(transaction=False) as together:
                for word in words:
                    together.publish(channel, word)
                together.execute()
        except (redis.RedisError, OSError) as fault:
            raise QueueUnavailable from fault


def _word(task_id: str, whose: str, result: Mapping[str, Any] | None) -> str:
    text = json.dumps(result, default=_iso) if result else ""
    return f"{task_id} {whose} {text if len(text) <= LONGEST_RESULT else ''}"


def _iso(moment: datetime) -> str:
    return moment.isoformat()
