"""Limit failed logins, before the cluster bans the whole service because of one user.

OpenSSH 9.8 and later penalises source addresses, and all users of this service share one.
`login_limits.py` says what is counted, and why; this module makes a login wait or refuses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import AsyncIterator, Sequence

import redis.asyncio

from api.state.login_counters import LoginCounters, LoginVerdict, new_attempt
from api.state.login_limits import Counter, Source, counters
from api.state.waiting_room import WaitingRooms
from resop.errors import (
    IdentityUnknown,
    LoginRefused,
    OtpRequired,
    PasswordExpired,
    QueueUnavailable,
    TooManyAttempts,
)
from resop.security.encryption import Encryptor
from resop.ssh.handshake_queue import QueuePlace, Rank

log = logging.getLogger(__name__)

MAX_WAIT_SECONDS = 10.0
"""How long a login waits for others in progress."""
MAX_PAUSE_SECONDS = 5.0
"""How long a login waits because others failed; it is refused if it would have to wait longer."""
THROTTLE_POLL_SECONDS = 0.1
WAITING_AT_ADDRESS = 50
WAITING_LOGINS = 500
"""How many logins wait in one process: known ones, and all others."""


class LoginThrottle:
    """Lets logins begin one after the other, so that few of them fail."""

    def __init__(self, client: redis.asyncio.Redis, encryptor: Encryptor) -> None:
        self._counters = LoginCounters(client, encryptor)
        self._known = WaitingRooms(WAITING_AT_ADDRESS, WAITING_LOGINS)
        self._others = WaitingRooms(WAITING_AT_ADDRESS, WAITING_LOGINS)

    @contextlib.asynccontextmanager
    async def attempt(
        self, username: str | None, cluster: str, address: str, earlier_login: str = ""
    ) -> AsyncIterator[QueuePlace]:
        """Surround one login at the cluster; a refused login counts as a failure.

        Yields the login's place among the handshakes with the cluster. `username` is None if a
        token will name the user; `earlier_login` is the credential of a token of this user that
        the client holds. Raises TooManyAttempts after too many failures and LimitReached
        if too many wait; both say how long to wait.
        """
        source = Source.of(username, cluster, address, earlier_login)
        known, good_users = await self._counters.history(source)
        known = known or bool(earlier_login)
        counted, attempt = counters(source, known, good_users), new_attempt()
        await self._enter(counted, attempt, self._known if known else self._others, source)
        failed = False
        try:
            yield _turn(source, known)
            if source.user is not None:
                with contextlib.suppress(QueueUnavailable):  # the login is good all the same
                    await self._counters.remember(source)
        except (LoginRefused, OtpRequired, PasswordExpired, IdentityUnknown):
            # Also an account that cannot be confirmed: sshd saw a failed login of another name.
            failed = True
            raise
        finally:
            await self._leave(counted, attempt, failed=failed)

    async def _leave(self, counted: Sequence[Counter], attempt: str, *, failed: bool) -> None:
        """Count the end of a login; a good one is not refused because Redis is unavailable now."""
        try:
            await self._counters.leave(counted, attempt, failed=failed)
        except QueueUnavailable:
            if failed:
                raise
            log.warning("the end of a login was not counted: Redis is unavailable")

    async def _enter(
        self, counted: Sequence[Counter], attempt: str, rooms: WaitingRooms, source: Source
    ) -> None:
        """Wait until every counter admits the attempt."""
        deadline = time.monotonic() + MAX_WAIT_SECONDS
        room = source.pair if rooms is self._known else source.network
        with rooms.place(room) as place:
            while True:
                await place.turn(deadline - time.monotonic())
                try:
                    verdicts = await self._counters.enter(counted, attempt)
                except asyncio.CancelledError:
                    await self._counters.leave(counted, attempt, failed=False)
                    raise
                if all(verdict.admits for verdict in verdicts):
                    return
                pause = _wait_or_refuse(verdicts, deadline - time.monotonic())
                await place.pause(max(pause, THROTTLE_POLL_SECONDS * random.uniform(0.5, 1.5)))


def _turn(source: Source, known: bool) -> QueuePlace:
    return (
        QueuePlace(Rank.KNOWN, source.pair) if known else QueuePlace(Rank.STRANGER, source.network)
    )


def _wait_or_refuse(verdicts: Sequence[LoginVerdict], seconds_left: float) -> float:
    """Return how long to wait before asking again. Raises TooManyAttempts."""
    against = [verdict for verdict in verdicts if not verdict.admits]
    worst = max(against, key=lambda verdict: (verdict.refused_for, verdict.pause))
    pause = worst.pause
    if worst.refused_for or seconds_left <= 0 or pause > min(MAX_PAUSE_SECONDS, seconds_left):
        limit = worst.counter.limit
        retry_after = worst.refused_for or max(1, math.ceil(pause))
        raise TooManyAttempts(retry_after, limit.counted, limit=limit.name)
    return pause
