"""Handshakes: how many at once, and who is next."""

import asyncio
from collections.abc import Iterable

import pytest

from resop.ssh.handshake_queue import (
    MAX_HANDSHAKES,
    MAX_WAITING_STRANGERS,
    MIN_HANDSHAKES,
    START_HANDSHAKES,
    HandshakeQueue,
    QueuePlace,
    Rank,
)


class Callers:
    """Wait for handshakes in the order of their start, and hold each until it is released."""

    def __init__(self, queue: HandshakeQueue) -> None:
        self._queue = queue
        self._waiting: dict[str, tuple[QueuePlace, asyncio.Task[None]]] = {}
        self.holding: list[str] = []

    async def start(self, names: Iterable[str], rank: Rank, origin: str) -> None:
        for name in names:
            turn = QueuePlace(rank, origin)
            task = asyncio.create_task(self._hold(name, turn))
            self._waiting[name] = turn, task
            await asyncio.sleep(0)
        await settle()

    async def _hold(self, name: str, turn: QueuePlace) -> None:
        await self._queue.acquire(turn)
        self.holding.append(name)

    async def release(self, name: str) -> None:
        self.holding.remove(name)
        self._queue.release(self._waiting.pop(name)[0])
        await settle()

    async def cancel(self, name: str) -> None:
        self._waiting.pop(name)[1].cancel()
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def queue() -> HandshakeQueue:
    return HandshakeQueue()


async def test_strangers_leave_handshakes_to_others(queue: HandshakeQueue) -> None:
    callers = Callers(queue)
    await callers.start((f"s{n}" for n in range(150)), Rank.STRANGER, "192.0.2.1")
    assert len(callers.holding) == START_HANDSHAKES - 2
    await callers.start(["known"], Rank.KNOWN, "ada")
    assert callers.holding[-1] == "known"
    await callers.start(["key"], Rank.KEY, "ada")
    assert callers.holding[-1] == "key"
    assert queue.locked()


async def test_known_logins_leave_one_handshake_to_keys(queue: HandshakeQueue) -> None:
    callers = Callers(queue)
    await callers.start((f"k{n}" for n in range(20)), Rank.KNOWN, "ada")
    assert len(callers.holding) == START_HANDSHAKES - 1
    await callers.start(["key"], Rank.KEY, "bob")
    assert callers.holding[-1] == "key"


async def test_a_known_login_goes_before_strangers_who_came_first(queue: HandshakeQueue) -> None:
    callers = Callers(queue)
    await callers.start((f"key{n}" for n in range(START_HANDSHAKES)), Rank.KEY, "bob")
    await callers.start((f"s{n}" for n in range(20)), Rank.STRANGER, "192.0.2.1")
    await callers.start(["known"], Rank.KNOWN, "ada")
    await callers.release("key0")
    assert callers.holding[-1] == "known"


async def test_addresses_of_strangers_take_turns(queue: HandshakeQueue) -> None:
    callers = Callers(queue)
    await callers.start((f"a{n}" for n in range(50)), Rank.STRANGER, "192.0.2.1")
    await callers.start(["b"], Rank.STRANGER, "192.0.2.2")
    await callers.start((f"c{n}" for n in range(50)), Rank.STRANGER, "192.0.2.3")
    await callers.release(callers.holding[0])
    await callers.release(callers.holding[0])
    assert "b" in callers.holding
    assert {name[0] for name in callers.holding} == {"a", "b", "c"}


async def test_of_strangers_at_one_address_the_newest_is_next(queue: HandshakeQueue) -> None:
    callers = Callers(queue)
    await callers.start((f"bad{n}" for n in range(50)), Rank.STRANGER, "192.0.2.1")
    await callers.start(["honest"], Rank.STRANGER, "192.0.2.1")
    await callers.release("bad0")
    assert callers.holding[-1] == "honest"


async def test_waiting_strangers_are_bounded(queue: HandshakeQueue) -> None:
    async def wait(number: int) -> None:
        await queue.acquire(QueuePlace(Rank.STRANGER, f"192.0.2.{number}"))

    number = MAX_WAITING_STRANGERS + START_HANDSHAKES - 2
    waiting = [asyncio.create_task(wait(n)) for n in range(number + 3)]
    await settle()
    displaced = [n for n, task in enumerate(waiting) if task.done() and task.exception()]
    assert displaced == [3, 4, 5]  # the oldest that had no handshake yet
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_users_take_turns_and_the_others_keep_their_order(queue: HandshakeQueue) -> None:
    callers = Callers(queue)
    await callers.start((f"a{n}" for n in range(10)), Rank.KEY, "ada")
    await callers.start((f"b{n}" for n in range(10)), Rank.KEY, "bob")
    for _ in range(4):
        await callers.release(callers.holding[0])
    assert callers.holding == ["a4", "b0", "b1", "a5", "b2"]


async def test_drops_halve_the_handshakes_and_answers_add_more(queue: HandshakeQueue) -> None:
    for _ in range(10):
        queue.note_dropped()
    assert queue.limit == MIN_HANDSHAKES
    for _ in range(200):
        queue.note_answered()
    assert queue.limit == MIN_HANDSHAKES  # nobody waits for more
    callers = Callers(queue)
    await callers.start((f"key{n}" for n in range(20)), Rank.KEY, "ada")
    for _ in range(200):
        queue.note_answered()
    await settle()
    assert queue.limit == len(callers.holding) == MAX_HANDSHAKES
    assert MAX_HANDSHAKES < 10  # sshd: MaxStartups 10:30:100


async def test_before_the_first_drop_every_answer_adds_a_handshake(queue: HandshakeQueue) -> None:
    callers = Callers(queue)
    await callers.start((f"key{n}" for n in range(20)), Rank.KEY, "ada")
    queue.note_answered()
    assert queue.limit == START_HANDSHAKES + 1
    queue.note_dropped()
    half = queue.limit
    queue.note_answered()
    assert queue.limit == half == (START_HANDSHAKES + 1) // 2


async def test_with_few_handshakes_everybody_still_gets_one(queue: HandshakeQueue) -> None:
    for _ in range(10):
        queue.note_dropped()
    for rank in Rank:
        await asyncio.wait_for(queue.acquire(QueuePlace(rank, "x")), 10)
        queue.release(QueuePlace(rank, "x"))


async def test_cancelled_waits_give_back_what_they_hold(queue: HandshakeQueue) -> None:
    callers = Callers(queue)
    await callers.start((f"key{n}" for n in range(10)), Rank.KEY, "ada")
    await callers.cancel("key7")
    for name in [*callers.holding]:
        await callers.release(name)
    assert "key7" not in callers.holding
    for name in [*callers.holding]:
        await callers.release(name)
    assert not queue.locked()
    # One that is granted and cancelled at the same moment gives the handshake back.
    held = [QueuePlace(Rank.KEY, "ada") for _ in range(START_HANDSHAKES)]
    for turn in held:
        await queue.acquire(turn)
    waiting = asyncio.create_task(queue.acquire(QueuePlace(Rank.KEY, "bob")))
    await settle()
    queue.release(held[0])
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    for turn in held[1:]:
        queue.release(turn)
    assert not queue.locked()
    for _ in range(START_HANDSHAKES):
        await asyncio.wait_for(queue.acquire(), 10)
