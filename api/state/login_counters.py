"""Count failed logins and logins in progress, and remember good ones: in Redis, for all processes.

Each change is one transaction, so that no login slips in between a question and its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis.asyncio

from api.state.login_limits import Counter, Source
from resop.clock import unix_time
from resop.errors import QueueUnavailable
from resop.security.encryption import Encryptor
from resop.storage.ids import new_id

LOGIN_ATTEMPT_SECONDS = 120
"""Longer than any login takes: after this, the attempts of a process that died do not count."""
MAX_EARLIER = 100
"""The most attempts in progress that are looked at: more than any limit allows at once."""
KNOWN_SECONDS = 30 * 24 * 3600
"""How long a good login is remembered."""
MAX_KNOWN_ADDRESSES = 50
"""Addresses remembered for each user."""
MAX_GOOD_USERS = 100
"""Users remembered for each address; more would not change its budget."""
MAX_CONNECTIONS = 20
"""Connections to Redis in use at once; the client has a hundred, for everything."""
_PAUSE_CLOCK_SECONDS = 3600
"""The lifetime of the key that tells how long ago the last failure was."""


def new_attempt() -> str:
    """Return a name for an attempt that begins now."""
    return f"{unix_time():.0f}:{new_id()}"


@dataclass(frozen=True, slots=True)
class LoginVerdict:
    """The decision of one counter about the next login."""

    counter: Counter
    admits: bool
    pause: float
    """Seconds until the next login may begin; 0 if only those in progress must end first."""
    refused_for: int
    """Seconds until a refused login may be tried again; 0 if it is not refused."""


class LoginCounters:
    """The counters of all logins. Methods raise QueueUnavailable without Redis."""

    def __init__(self, client: redis.asyncio.Redis, encryptor: Encryptor) -> None:
        """`encryptor` names the keys: a reader of Redis learns neither users nor addresses."""
        self._redis = client
        self._digest = encryptor.digest
        self._connections = asyncio.Semaphore(MAX_CONNECTIONS)

    async def history(self, source: Source) -> tuple[bool, int]:
        """Return whether the user has logged in from there, and how many users have."""
        known, good = self._history_keys(source)
        forgotten = unix_time() - KNOWN_SECONDS
        async with self._transaction() as pipeline:
            pipeline.zscore(known, self._digest("login", source.network))
            pipeline.zcount(good, forgotten, "+inf")
            at, good_users = await pipeline.execute()
        return source.user is not None and at is not None and float(at) > forgotten, good_users

    async def remember(self, source: Source) -> None:
        """Remember a good login."""
        known, good = self._history_keys(source)
        at = unix_time()
        async with self._transaction() as pipeline:
            for key, member, most in (
                (known, source.network, MAX_KNOWN_ADDRESSES),
                (good, f"{source.cluster}:{source.user}", MAX_GOOD_USERS),
            ):
                pipeline.zadd(key, {self._digest("login", member): at})
                pipeline.zremrangebyscore(key, "-inf", at - KNOWN_SECONDS)
                pipeline.zremrangebyrank(key, 0, -most - 1)
                pipeline.expire(key, KNOWN_SECONDS)
            await pipeline.execute()

    async def enter(self, counters: Sequence[Counter], attempt: str) -> list[LoginVerdict]:
        """Count an attempt as in progress if every counter admits it; return their verdicts."""
        async with self._transaction() as pipeline:
            for key in map(self._key, counters):
                pipeline.rpush(f"{key}:trying", attempt)
                pipeline.expire(f"{key}:trying", LOGIN_ATTEMPT_SECONDS)
                pipeline.lrange(f"{key}:trying", 0, MAX_EARLIER - 1)
                pipeline.get(key)
                pipeline.ttl(key)
                pipeline.pttl(f"{key}:last")
            answers = await pipeline.execute()
        verdicts, lost = [], set[str]()
        for number, counter in enumerate(counters):
            _, _, trying, *state = answers[6 * number : 6 * number + 6]
            earlier, dead = _earlier(trying, attempt)
            verdicts.append(_verdict(counter, earlier, *state))
            lost |= dead
        for each in lost:
            await self.leave(counters, each, failed=False)
        if not all(verdict.admits for verdict in verdicts):
            await self.leave(counters, attempt, failed=False)
        return verdicts

    async def leave(self, counters: Sequence[Counter], attempt: str, *, failed: bool) -> None:
        """Count an attempt as ended, and as a failure if it is one."""
        async with self._transaction() as pipeline:
            for counter in counters:
                key = self._key(counter)
                # All of it: a transaction that is sent again may have been executed before.
                pipeline.lrem(f"{key}:trying", 0, attempt)
                if failed:
                    pipeline.incr(key)
                    pipeline.expire(key, counter.limit.seconds, nx=True)
                    pipeline.set(f"{key}:last", "", ex=_PAUSE_CLOCK_SECONDS)
            await pipeline.execute()

    def _key(self, counter: Counter) -> str:
        return f"resop:login:{self._digest('login', counter.name)}"

    def _history_keys(self, source: Source) -> tuple[str, str]:
        addresses = self._digest("addresses", source.cluster, source.user or "")
        return f"resop:login:{addresses}", f"resop:login:{self._digest('users', source.network)}"

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Any]:
        try:
            async with self._connections, self._redis.pipeline(transaction=True) as pipeline:
                yield pipeline
        except (redis.RedisError, OSError) as fault:
            raise QueueUnavailable(
                "Redis is unavailable, so logins are not possible: try again later"
            ) from fault


def _earlier(trying: Sequence[bytes], attempt: str) -> tuple[int, set[str]]:
    """Return how many attempts began before this one, and those of processes that died."""
    names = [each.decode(errors="replace") for each in trying]
    before = names[: names.index(attempt)] if attempt in names else names
    forgotten = unix_time() - LOGIN_ATTEMPT_SECONDS
    dead = {each for each in before if _began_at(each) < forgotten}
    return sum(each not in dead for each in before), dead


def _began_at(attempt: str) -> int:
    seconds = attempt.partition(":")[0]
    return int(seconds) if seconds.isdecimal() and len(seconds) < 12 else 0


def _verdict(
    counter: Counter, rank: int, failed: bytes | None, ttl: int, last_pttl: int
) -> LoginVerdict:
    """Judge a login that `rank` others in progress precede."""
    limit, failures = counter.limit, int(failed or 0)
    if failures < counter.budget:
        free = limit.at_once is None or rank < min(limit.at_once, counter.budget - failures)
        return LoginVerdict(counter, free, 0.0, 0)
    if not limit.pause:
        return LoginVerdict(counter, False, 0.0, max(1, ttl))
    since_last = _PAUSE_CLOCK_SECONDS - last_pttl / 1000 if last_pttl > 0 else limit.longest_pause
    pause = max(0.0, limit.pause_after(failures, counter.budget) - since_last)
    return LoginVerdict(counter, rank < limit.at_once_slowly and not pause, pause, 0)
