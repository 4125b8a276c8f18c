"""Where logins wait for their turn: bounded, and the newest first.

Under an attack most waiting logins are the attacker's. In the order of arrival, a user would wait
for all of them; the newest login waits for none. So a user who logs in now and then is served at
once, and a flood displaces itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from resop.errors import LimitReached

RETRY_SECONDS = 5
"""The Retry-After of a displaced login."""


class Place:
    """One login that waits."""

    def __init__(self, room: list[Place]) -> None:
        self._room = room
        self._changed = asyncio.Event()
        self.displaced = False

    async def turn(self, seconds: float) -> None:
        """Wait until this is the newest of its room.

        Raises LimitReached if it was displaced, or is not the newest within `seconds`.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.displaced and self._room[-1] is not self:
                    await self._next_change()
        if self.displaced or self._room[-1] is not self:
            raise LimitReached(
                f"too many logins are waiting: try again in {RETRY_SECONDS} s",
                retry_after=RETRY_SECONDS,
                limit="waiting_logins",
            )

    async def pause(self, seconds: float) -> None:
        """Wait for `seconds`, or until something changes in the room."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._next_change()

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def notify(self) -> None:
        """Have `turn` look again."""
        self._changed.set()


class WaitingRooms:
    """The waiting logins of one process, in a room for each address."""

    def __init__(self, places: int, places_in_all: int) -> None:
        """Hold at most `places` in each room; beyond either number the oldest is displaced."""
        self._places = places
        self._places_in_all = places_in_all
        self._rooms: dict[str, list[Place]] = {}
        self._oldest_first: dict[Place, str] = {}

    def __len__(self) -> int:
        return len(self._oldest_first)

    @contextlib.contextmanager
    def place(self, room: str) -> Iterator[Place]:
        """Wait in a room, as its newest."""
        others = self._rooms.setdefault(room, [])
        place = Place(others)
        others.append(place)
        self._oldest_first[place] = room
        if len(others) > self._places:
            self._displace(others[0])
        elif len(self._oldest_first) > self._places_in_all:
            self._displace(next(iter(self._oldest_first)))
        try:
            yield place
        finally:
            self._remove(place)

    def _displace(self, place: Place) -> None:
        self._remove(place)
        place.displaced = True
        place.notify()

    def _remove(self, place: Place) -> None:
        room = self._oldest_first.pop(place, None)
        if room is None:
            return
        others = self._rooms[room]
        others.remove(place)
        if others:
            others[-1].notify()
        else:
            del self._rooms[room]
