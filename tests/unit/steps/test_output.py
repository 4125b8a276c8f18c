"""Noise of start-up files is removed from a stream as from the complete output."""

from hypothesis import given
from hypothesis import strategies as st

from resop.steps.output import NoiseFilter, RawResult, without_noise

MARK = b"mark\n"
CHUNKS = st.lists(
    st.tuples(st.sampled_from([1, 2]), st.sampled_from([b"m", b"ma", b"rk\n", MARK, b"noise\n"]))
)


@given(CHUNKS, st.integers(0, 20))
def test_filter_passes_on_exactly_what_without_noise_returns(
    chunks: list[tuple[int, bytes]], limit: int
) -> None:
    received = {1: b"", 2: b""}

    def receive(stream: int, data: bytes) -> None:
        assert data
        received[stream] += data

    after = NoiseFilter(MARK, limit, receive)
    for stream, data in chunks:
        after(stream, data)
    after.finish()
    out, err = (b"".join(data for stream, data in chunks if stream == each) for each in (1, 2))
    expected = without_noise(RawResult(out, err, 0, 0.0, False), MARK, limit)
    assert (received[1], received[2]) == (expected.stdout, expected.stderr)
