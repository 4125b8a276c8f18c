"""Waiting logins: the newest first, a bounded number, and the oldest is displaced."""

import asyncio
import contextlib

import pytest

from api.state.waiting_room import RETRY_SECONDS, WaitingRooms
from resop.errors import LimitReached


async def test_the_newest_of_a_room_is_served_first() -> None:
    rooms = WaitingRooms(10, 10)
    with rooms.place("a") as first:
        await first.turn(30)
        with rooms.place("a") as second, contextlib.ExitStack() as later:
            third = later.enter_context(rooms.place("a"))
            await third.turn(30)
            one, two = asyncio.create_task(first.turn(30)), asyncio.create_task(second.turn(30))
            await asyncio.sleep(0.01)
            assert not one.done() and not two.done()
            later.close()
            await asyncio.wait_for(two, 10)
            assert not one.done()
        await asyncio.wait_for(one, 10)
    assert len(rooms) == 0


async def test_rooms_do_not_wait_for_each_other() -> None:
    rooms = WaitingRooms(10, 10)
    with rooms.place("a") as one, rooms.place("b") as other:
        await one.turn(1)
        await other.turn(1)


async def test_beyond_its_places_a_room_displaces_its_oldest() -> None:
    rooms = WaitingRooms(2, 10)
    with rooms.place("a") as oldest, rooms.place("a"), rooms.place("b") as other:
        with rooms.place("a") as newest:
            await newest.turn(1)
            await other.turn(1)
            with pytest.raises(LimitReached) as refused:
                await oldest.turn(1)
            assert refused.value.details["retry_after"] == RETRY_SECONDS
        assert len(rooms) == 2
    assert len(rooms) == 0


async def test_beyond_all_places_the_oldest_of_all_is_displaced() -> None:
    rooms = WaitingRooms(2, 2)
    with rooms.place("a") as oldest, rooms.place("b") as second, rooms.place("c") as third:
        with pytest.raises(LimitReached):
            await oldest.turn(1)
        await second.turn(1)
        await third.turn(1)
    assert len(rooms) == 0


async def test_nobody_waits_for_ever() -> None:
    rooms = WaitingRooms(10, 10)
    with rooms.place("a") as early, rooms.place("a"), pytest.raises(LimitReached):
        await early.turn(0.01)


async def test_a_pause_ends_when_its_place_is_displaced() -> None:
    rooms = WaitingRooms(1, 10)
    with rooms.place("a") as early:
        pausing = asyncio.create_task(early.pause(60))
        await asyncio.sleep(0)
        with rooms.place("a"):
            await asyncio.wait_for(pausing, 10)
