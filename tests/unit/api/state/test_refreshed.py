"""A value from elsewhere: read once for all, and not asked for again at once."""

import asyncio

import pytest

from api.state import refreshed
from api.state.refreshed import Refreshed
from resop.errors import ClusterError


class Source:
    """Counts its readings, and answers only when it may."""

    def __init__(self) -> None:
        self.readings = 0
        self.answering = asyncio.Event()
        self.fault: ClusterError | None = None

    async def read(self) -> int:
        self.readings += 1
        number = self.readings
        await self.answering.wait()
        if self.fault is not None:
            raise self.fault
        return number


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    moment = [1000.0]
    monkeypatch.setattr(refreshed, "monotonic", lambda: moment[0])
    return moment


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_many_at_once_cause_one_reading(clock: list[float]) -> None:
    source = Source()
    value = Refreshed(source.read)
    waiting = [asyncio.create_task(value.get()) for _ in range(80)]
    await settle()
    assert source.readings == 1 and not any(each.done() for each in waiting)
    source.answering.set()
    assert await asyncio.gather(*waiting) == [1] * 80


async def test_one_who_gives_up_ends_nobody_elses_reading(clock: list[float]) -> None:
    source = Source()
    value = Refreshed(source.read)
    first, second = (asyncio.create_task(value.get()) for _ in range(2))
    await settle()
    first.cancel()
    source.answering.set()
    assert await second == 1


async def test_failure_is_remembered_for_a_pause(clock: list[float]) -> None:
    source = Source()
    source.answering.set()
    source.fault = ClusterError("away")
    value = Refreshed(source.read)
    for _ in range(3):
        with pytest.raises(ClusterError, match="away"):
            await value.get()
    assert source.readings == 1
    clock[0] += refreshed.PAUSE_SECONDS + 1
    source.fault = None
    assert await value.get() == 2


async def test_old_value_is_used_while_a_new_one_is_read(clock: list[float]) -> None:
    source = Source()
    source.answering.set()
    value = Refreshed(source.read)
    assert await value.get() == 1
    clock[0] += refreshed.FRESH_SECONDS + 1
    source.answering.clear()  # it hangs from now on
    for _ in range(3):
        assert await value.get() == 1
    await settle()
    assert source.readings == 2
    source.answering.set()
    await settle()
    assert await value.get() == 2


async def test_value_that_cannot_be_read_again_is_given_up_in_the_end(
    clock: list[float],
) -> None:
    source = Source()
    source.answering.set()
    value = Refreshed(source.read)
    await value.get()
    source.fault = ClusterError("away")
    clock[0] += refreshed.USABLE_SECONDS - 1
    assert await value.get() == 1
    await settle()
    clock[0] += 2
    with pytest.raises(ClusterError, match="away"):
        await value.get()


async def test_newer_value_is_asked_for_once_in_a_pause(clock: list[float]) -> None:
    source = Source()
    source.answering.set()
    value = Refreshed(source.read)
    assert await value.get() == 1
    assert await value.newer() == 1
    clock[0] += refreshed.PAUSE_SECONDS + 1
    assert [await value.newer() for _ in range(5)] == [2] * 5
