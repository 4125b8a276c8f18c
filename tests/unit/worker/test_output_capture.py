"""The output of a running step: recorded while it runs, in order, masked, bounded."""

import asyncio
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resop.limits import OUTPUT_CHUNK, OUTPUT_LIMIT
from resop.security.masking import Masker
from resop.types import MASK
from worker import output_capture
from worker.output_capture import MAX_CHUNKS, OUTPUT_CUT, OutputCapture

BYTES = st.sampled_from(
    [b"plain ", b"hunt", b"er2", b"hunter2", "é😀".encode(), b"\xff", b"\xf0\x9f"]
)


class Record:
    """Keeps the writes; each completes at once unless the database is unavailable."""

    def __init__(self) -> None:
        self.writes: list[list[tuple[int, str]]] = []
        self.waiting: list[Future[None]] | None = None
        self.written: asyncio.Queue[None] = asyncio.Queue()

    def write(self, texts: list[tuple[int, str]]) -> Future[None]:
        self.writes.append(texts)
        self.written.put_nowait(None)
        written: Future[None] = Future()
        if self.waiting is None:
            written.set_result(None)
        else:
            self.waiting.append(written)
        return written

    def text(self, stream: int) -> str:
        return "".join(text for texts in self.writes for each, text in texts if each == stream)


@pytest.fixture
def record() -> Record:
    return Record()


async def test_short_step_costs_no_write(record: Record) -> None:
    with OutputCapture(record.write, Masker()) as capture:
        capture(1, b"soon over")
    assert record.writes == []


async def test_long_step_is_written_now_and_then_and_the_rest_at_the_end(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_capture, "RECORD_INTERVAL", 0.01)
    monkeypatch.setattr(output_capture, "TICK_SECONDS", 0.01)
    with OutputCapture(record.write, Masker()) as capture:
        for number in range(3):
            capture(1, b"out %d, " % number)
            capture(2, b"err %d, " % number)
            capture(1, b"and on, ")
            await record.written.get()
        capture(2, b"the rest")
    assert record.writes == [
        *([(1, f"out {n}, "), (2, f"err {n}, "), (1, "and on, ")] for n in range(3)),
        [(2, "the rest")],
    ]


async def test_all_of_a_step_that_fails_is_written(record: Record) -> None:
    with pytest.raises(TimeoutError), OutputCapture(record.write, Masker()) as capture:
        capture(2, b"so far")
        raise TimeoutError
    assert record.writes == [[(2, "so far")]]


@given(st.lists(st.tuples(st.sampled_from([1, 2]), BYTES, st.booleans()), max_size=20))
def test_chunks_make_the_whole_wherever_they_are_cut(
    chunks: list[tuple[int, bytes, bool]],
) -> None:
    record, masker = Record(), Masker(["hunter2"])

    async def run() -> None:
        with OutputCapture(record.write, masker) as capture:
            for stream, data, tick in chunks:
                capture(stream, data)
                if tick:
                    capture._tick()
            capture._tick()

    asyncio.run(run())
    for stream in (1, 2):
        whole = b"".join(data for each, data, _ in chunks if each == stream)
        # If no tick could record any text, nothing is written at all.
        if record.writes:
            assert record.text(stream) == masker.text(whole.decode("utf-8", "replace"))


async def test_while_the_database_is_unavailable_one_write_waits_and_the_rest_is_bounded(
    record: Record,
) -> None:
    record.waiting = []
    with OutputCapture(record.write, Masker()) as capture:
        capture(1, b"first")
        for number in range(1000):
            capture._tick()
            capture(1 + number % 2, b"x" * 10_000)
        assert len(record.writes) == 1
        assert len(capture._chunks) <= MAX_CHUNKS
    assert len(record.text(1)) == len(record.text(2)) == OUTPUT_LIMIT
    assert max(len(text) for texts in record.writes for _, text in texts) <= OUTPUT_CHUNK


async def test_secret_cut_at_the_limit_is_not_recorded_in_part(record: Record) -> None:
    with OutputCapture(record.write, Masker(["hunter2"]), limit=13) as capture:
        capture(1, b"hunter2 hunt")
        capture._tick()
        capture(1, b"er2")
        capture(2, b"whole")
    assert (record.text(1), record.text(2)) == (f"{MASK} ", "whole")


async def test_record_of_a_failed_step_says_that_it_was_cut(record: Record) -> None:
    with pytest.raises(TimeoutError), OutputCapture(record.write, Masker(), limit=6) as capture:
        capture(1, b"y\ny\n")
        capture(2, b"oh")
        capture(1, b"y\n\xff\xff")
        raise TimeoutError
    assert (record.text(1), record.text(2)) == (f"y\ny\ny\n{OUTPUT_CUT}", "oh")


async def test_stream_that_is_not_to_be_recorded_is_not(record: Record) -> None:
    with OutputCapture(record.write, Masker(), streams=(2,)) as capture:
        capture(1, b"a file")
        capture(2, b"a warning")
        capture._tick()
    assert record.writes == [[(2, "a warning")]]
