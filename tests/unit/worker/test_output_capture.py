"""What a running step prints: recorded while it runs, in order, masked, within bounds."""

import asyncio
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resop.limits import OUTPUT_LIMIT, PIECE
from resop.security.masking import Masker
from resop.types import MASK
from worker import output_capture as module
from worker.output_capture import CUT, PIECES, OutputCapture

BYTES = st.sampled_from(
    [b"plain ", b"hunt", b"er2", b"hunter2", "é😀".encode(), b"\xff", b"\xf0\x9f"]
)


class Record:
    """Keeps what is to be written; it is written at once unless the database is away."""

    def __init__(self) -> None:
        self.writes: list[list[tuple[int, str]]] = []
        self.away: list[Future[None]] | None = None
        self.written: asyncio.Queue[None] = asyncio.Queue()

    def write(self, texts: list[tuple[int, str]]) -> Future[None]:
        self.writes.append(texts)
        self.written.put_nowait(None)
        written: Future[None] = Future()
        if self.away is None:
            written.set_result(None)
        else:
            self.away.append(written)
        return written

    def text(self, stream: int) -> str:
        return "".join(text for texts in self.writes for each, text in texts if each == stream)


@pytest.fixture
def record() -> Record:
    return Record()


async def test_short_step_costs_no_write(record: Record) -> None:
    with OutputCapture(record.write, Masker()) as heard:
        heard(1, b"soon over")
    assert record.writes == []


async def test_long_step_is_written_now_and_then_and_its_rest_at_the_end(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHOW_SECONDS", 0.01)
    monkeypatch.setattr(module, "TICK_SECONDS", 0.01)
    with OutputCapture(record.write, Masker()) as heard:
        for number in range(3):
            heard(1, b"out %d, " % number)
            heard(2, b"err %d, " % number)
            heard(1, b"and on, ")
            await record.written.get()
        heard(2, b"the rest")
    assert record.writes == [
        *([(1, f"out {n}, "), (2, f"err {n}, "), (1, "and on, ")] for n in range(3)),
        [(2, "the rest")],
    ]


async def test_all_of_a_step_that_fails_is_written(record: Record) -> None:
    with pytest.raises(TimeoutError), OutputCapture(record.write, Masker()) as heard:
        heard(2, b"so far")
        raise TimeoutError
    assert record.writes == [[(2, "so far")]]


@given(st.lists(st.tuples(st.sampled_from([1, 2]), BYTES, st.booleans()), max_size=20))
def test_pieces_make_the_whole_whatever_is_cut_in_two(
    pieces: list[tuple[int, bytes, bool]],
) -> None:
    record, masker = Record(), Masker(["hunter2"])

    async def hear() -> None:
        with OutputCapture(record.write, masker) as heard:
            for stream, data, shown in pieces:
                heard(stream, data)
                if shown:
                    heard._tick()
            heard._tick()

    asyncio.run(hear())
    for stream in (1, 2):
        whole = b"".join(data for each, data, _ in pieces if each == stream)
        # Where nothing could be shown by a tick nothing is written at all.
        if record.writes:
            assert record.text(stream) == masker.text(whole.decode("utf-8", "replace"))


async def test_while_the_database_is_away_one_write_waits_and_the_rest_is_bounded(
    record: Record,
) -> None:
    record.away = []
    with OutputCapture(record.write, Masker()) as heard:
        heard(1, b"first")
        for number in range(1000):
            heard._tick()
            heard(1 + number % 2, b"x" * 10_000)
        assert len(record.writes) == 1
        assert len(heard._pieces) <= PIECES
    assert len(record.text(1)) == len(record.text(2)) == OUTPUT_LIMIT
    assert max(len(text) for texts in record.writes for _, text in texts) <= PIECE


async def test_secret_that_is_cut_at_the_limit_shows_nothing_of_itself(record: Record) -> None:
    with OutputCapture(record.write, Masker(["hunter2"]), limit=13) as heard:
        heard(1, b"hunter2 hunt")
        heard._tick()
        heard(1, b"er2")
        heard(2, b"whole")
    assert (record.text(1), record.text(2)) == (f"{MASK} ", "whole")


async def test_step_that_fails_says_what_was_cut(record: Record) -> None:
    with pytest.raises(TimeoutError), OutputCapture(record.write, Masker(), limit=6) as heard:
        heard(1, b"y\ny\n")
        heard(2, b"oh")
        heard(1, b"y\n\xff\xff")
        raise TimeoutError
    assert (record.text(1), record.text(2)) == (f"y\ny\ny\n{CUT}", "oh")


async def test_stream_that_is_not_to_be_shown_is_not(record: Record) -> None:
    with OutputCapture(record.write, Masker(), streams=(2,)) as heard:
        heard(1, b"a file")
        heard(2, b"a warning")
        heard._tick()
    assert record.writes == [[(2, "a warning")]]
