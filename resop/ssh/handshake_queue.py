"""The handshakes with one cluster: how many at once, and whose turn is next.

sshd drops connections at random while too many are unauthenticated, and one whose PAM delays a
wrong password keeps a handshake busy for seconds. So their number adapts to what the cluster
accepts, a part of it is out of reach for strangers, and everybody else takes turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import IntEnum

START_HANDSHAKES = 5
MIN_HANDSHAKES = 2
MAX_HANDSHAKES = 9
"""OpenSSH drops connections at random from 10 unauthenticated ones on (MaxStartups 10:30:100)."""

MAX_WAITING_STRANGERS = 200
"""Beyond this the stranger who has waited longest is displaced."""


class Displaced(Exception):
    """Too many strangers wait for a handshake."""


class Rank(IntEnum):
    """The order of connections, and how many handshakes are kept free for lower ranks."""

    KEY = 0
    """A connection with a key: somebody is logged in."""
    KNOWN = 1
    """A password, from an address where this user has logged in before."""
    STRANGER = 2
    """Any other password: any number of them may be wrong, and slow."""


@dataclass(frozen=True, slots=True)
class QueuePlace:
    """A place in the order: turns of equal rank alternate between origins."""

    rank: Rank = Rank.KEY
    origin: str = ""
    """A user, a user at an address, or an address: all its connections share its turns."""


KEY_TURN = QueuePlace()


@dataclass(slots=True, eq=False)
class _Waiting:
    turn: QueuePlace
    number: int
    granted: asyncio.Future[None]


class HandshakeQueue:
    """Hands out the handshakes with one cluster, in one process."""

    def __init__(self) -> None:
        self.limit = START_HANDSHAKES
        """How many handshakes there are at the moment."""
        self._active: Counter[QueuePlace] = Counter()
        self._waiting: list[_Waiting] = []
        self._numbers = itertools.count(1)
        self._last_turn: dict[str, int] = {}
        """The number of the last turn of each origin that is in use."""
        self._good = 0
        """Handshakes that sshd did not drop since the limit changed."""
        self._was_dropped = False

    def locked(self) -> bool:
        """Return True if a connection with a key would have to wait."""
        return self._active.total() >= self.limit

    async def acquire(self, turn: QueuePlace | None = None) -> None:
        """Wait for a handshake. Raises Displaced if too many strangers wait."""
        turn = turn or KEY_TURN
        waiting = _Waiting(turn, next(self._numbers), asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._grant()
        self._displace()
        try:
            await waiting.granted
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            elif not waiting.granted.cancelled() and waiting.granted.exception() is None:
                self.release(turn)
            raise

    def release(self, turn: QueuePlace | None = None) -> None:
        """Give a handshake back."""
        turn = turn or KEY_TURN
        self._active[turn] -= 1
        if not self._active[turn]:
            del self._active[turn]
        self._grant()
        self._forget_origin(turn.origin)

    @contextlib.asynccontextmanager
    async def handshake(self, turn: QueuePlace) -> AsyncIterator[None]:
        """Hold a handshake."""
        await self.acquire(turn)
        try:
            yield
        finally:
            self.release(turn)

    def note_answered(self) -> None:
        """Note that sshd did not drop a connection: while some wait, allow one more.

        Once sshd has dropped one, only after as many in a row as there are handshakes.
        """
        self._good += 1
        enough = not self._was_dropped or self._good > self.limit
        if self._waiting and enough and self.limit < MAX_HANDSHAKES:
            self.limit, self._good = self.limit + 1, 0
            self._grant()

    def note_dropped(self) -> None:
        """Note that sshd dropped a connection before its first question: allow half as many."""
        self.limit, self._good = max(MIN_HANDSHAKES, self.limit // 2), 0
        self._was_dropped = True

    def _displace(self) -> None:
        strangers = [each for each in self._waiting if each.turn.rank is Rank.STRANGER]
        if len(strangers) > MAX_WAITING_STRANGERS:
            self._waiting.remove(strangers[0])
            if not strangers[0].granted.done():
                strangers[0].granted.set_exception(Displaced())

    def _grant(self) -> None:
        while (waiting := self._next()) is not None:
            self._waiting.remove(waiting)
            self._active[waiting.turn] += 1
            self._last_turn[waiting.turn.origin] = next(self._numbers)
            waiting.granted.set_result(None)

    def _next(self) -> _Waiting | None:
        """Return who is next, if there is a free handshake for somebody who waits."""
        free = [
            each
            for each in self._waiting
            if not each.granted.cancelled() and self._is_free(each.turn.rank)
        ]
        if not free:
            return None
        origins = Counter[str]()
        for turn, number in self._active.items():
            origins[turn.origin] += number

        def order(each: _Waiting) -> tuple[int, int, int, int]:
            origin = each.turn.origin
            # Of passwords the newest: it waits for nobody, and a flood waits for itself.
            number = each.number if each.turn.rank is Rank.KEY else -each.number
            rank = max(each.turn.rank, Rank.KNOWN)
            return rank, origins[origin], self._last_turn.get(origin, 0), number

        return min(free, key=order)

    def _is_free(self, rank: Rank) -> bool:
        """Return True if a handshake is free for this rank: others keep some for lower ranks."""
        weaker = sum(n for turn, n in self._active.items() if turn.rank >= rank)
        return not self.locked() and weaker < max(1, self.limit - rank)

    def _forget_origin(self, origin: str) -> None:
        in_use = [*self._active, *(each.turn for each in self._waiting)]
        if all(turn.origin != origin for turn in in_use):
            self._last_turn.pop(origin, None)
