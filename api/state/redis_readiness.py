"""Tell why Redis would refuse a new task now."""

from __future__ import annotations

import redis
import redis.asyncio
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
)

from resop.messaging.redis_client import NoMaster

PROBE = "resop:ready"
"""A key that is never set, and a channel that nobody listens to."""
MAX_CHARACTERS = 200
"""The most that is shown of a refusal in Redis's own words."""

_REFUSALS: tuple[tuple[type[Exception], str], ...] = (
    (ReadOnlyError, "Redis is a read-only replica"),
    (MasterDownError, "Redis is a replica that has lost its master"),
    (ClusterDownError, "the Redis cluster is down"),
    (OutOfMemoryError, "Redis has reached its maxmemory"),
    (NoPermissionError, "the Redis user may not do what the service needs: see docs/security.md"),
    (BusyLoadingError, "Redis is loading its data"),
    (AuthenticationError, "Redis refuses the user or password of REDIS_URL"),
)
_NO_ANSWERS: tuple[tuple[type[Exception], str], ...] = (
    (NoMaster, "no sentinel names a master that is up"),
    (redis.TimeoutError, "Redis does not answer"),
    (redis.ConnectionError, "Redis cannot be reached"),
    (OSError, "Redis cannot be reached"),
)
_CODES = {
    "MISCONF": "Redis cannot save its data to disk",
    "NOREPLICAS": "Redis has fewer replicas than its min-replicas-to-write",
    "BUSY": "Redis is busy with a script",
}
"""The first words of other refusals."""


async def redis_fault(client: redis.asyncio.Redis) -> str | None:
    """Return why Redis would not take a task and publish its end, or None if it would.

    Nothing is written: there is no such key, and nobody listens to the channel.
    """
    try:
        async with client.pipeline(transaction=False) as pipeline:
            pipeline.set(PROBE, "", xx=True, px=1)
            pipeline.lpushx(PROBE, "")
            pipeline.publish(PROBE, "")
            await pipeline.execute()
    except (redis.RedisError, OSError) as fault:
        return explain(fault)
    return None


def explain(fault: Exception) -> str:
    """Return what an error of redis-py says about the state of Redis."""
    # A refusal while redis-py connects is the cause of the error that says so.
    causes = [fault, *([fault.__cause__] if fault.__cause__ else [])]
    # redis-py puts its own text in front of the answer to a command of a pipeline.
    text = str(causes[-1]).rpartition(" of pipeline caused error: ")[2].lstrip("('\"")
    for kind, reason in _REFUSALS:
        if any(isinstance(each, kind) for each in causes):
            return reason
    code = text.partition(" ")[0]
    if code in _CODES:
        return _CODES[code]
    for kind, reason in _NO_ANSWERS:
        if isinstance(fault, kind):
            return reason
    return f"Redis refuses what it is asked: {text[:MAX_CHARACTERS]}"
