"""Let clients take turns, so that many requests of one do not delay the few of others.

A turn covers the work that a request causes in this process, not the time in which it waits: for a
task, a login node, or its client.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextvars import ContextVar

_current: ContextVar[Turn | None] = ContextVar("turn", default=None)


class Turn:
    """The turn of one request."""

    __slots__ = ("_client", "_turns")

    def __init__(self, turns: Turns, client: str) -> None:
        self._turns: Turns | None = turns
        self._client = client

    def end(self) -> None:
        """Let the next request of this client begin; harmless when the turn has ended."""
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.next(self._client)


class Turns:
    """The requests of each client: a few are at work, the others wait for their turn."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._working: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def take(self, client: str) -> Turn:
        """Wait until a request of this client may begin, and make its turn the current one."""
        if self._working[client] < self._at_once:
            self._working[client] += 1
        else:
            begins: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(client, deque()).append(begins)
            try:
                await begins
            except asyncio.CancelledError:
                if begins.done() and not begins.cancelled():
                    self.next(client)
                raise
        turn = Turn(self, client)
        _current.set(turn)
        return turn

    def next(self, client: str) -> None:
        """Hand a turn of this client to the request that has waited longest."""
        waiting = self._waiting.get(client)
        while waiting:
            begins = waiting.popleft()
            if not begins.done():
                begins.set_result(None)
                return
        self._waiting.pop(client, None)
        self._working[client] -= 1
        if not self._working[client]:
            del self._working[client]


def end_turn() -> None:
    """End the turn of the present request, which is about to wait for something else."""
    turn = _current.get()
    if turn is not None:
        turn.end()
