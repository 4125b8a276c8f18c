"""What rc files print is taken off as it comes, just as it is at the end."""

from hypothesis import given
from hypothesis import strategies as st

from resop.steps.output import NoiseFilter, RawResult, without_noise

MARK = b"mark\n"
PIECES = st.lists(
    st.tuples(st.sampled_from([1, 2]), st.sampled_from([b"m", b"ma", b"rk\n", MARK, b"noise\n"]))
)


@given(PIECES, st.integers(0, 20))
def test_what_is_heard_after_the_mark_is_what_is_left_in_the_end(
    pieces: list[tuple[int, bytes]], most: int
) -> None:
    heard = {1: b"", 2: b""}

    def hear(stream: int, data: bytes) -> None:
        assert data
        heard[stream] += data

    after = NoiseFilter(MARK, most, hear)
    for stream, data in pieces:
        after(stream, data)
    after.finish()
    out, err = (b"".join(data for stream, data in pieces if stream == each) for each in (1, 2))
    left = without_noise(RawResult(out, err, 0, 0.0, False), MARK, most)
    assert (heard[1], heard[2]) == (left.stdout, left.stderr)
