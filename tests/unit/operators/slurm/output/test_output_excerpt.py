"""The parts of an output file: an offset, the last bytes, the last lines."""

from operators.slurm.output.output_excerpt import WINDOW, Excerpt, Selection, last_lines


def test_last_lines_are_as_a_terminal_shows_them() -> None:
    cases: dict[bytes, bytes] = {
        b"": b"",
        b"a\nb\n": b"a\nb\n",
        b"a\nb": b"a\nb",
        b"\n\n": b"\n\n",
        b"windows\r\nends\r\n": b"windows\r\nends\r\n",
        b"10%\r20%\r30%": b"30%",
        b"10%\r20%\r": b"20%\r",
        b"\r10%\r20%\r\nnext": b"20%\r\nnext",
        b"x\r\r\ny\n": b"x\r\r\ny\n",
        b"epoch 1\n 1%\r 9%\r10%\ndone\r\n": b"epoch 1\n10%\ndone\r\n",
        "ü\r€".encode(): "€".encode(),
    }
    for content, shown in cases.items():
        assert last_lines(content, 1000)[0] == shown, content


def test_as_many_whole_lines_are_shown_as_fit() -> None:
    content = b"first\nsecond\nthird\n"
    assert last_lines(content, 13) == (b"second\nthird\n", 6)
    assert last_lines(content, 12) == (b"third\n", 13)
    assert last_lines(content, 5) == (b"hird\n", 14)
    # A bar of a megabyte leaves room for what came before it.
    bar = b"".join(b"\r%7d" % n for n in range(100_000))
    assert last_lines(b"begin\n" + bar, 20) == (b"begin\n  99999", 0)
    # No character is cut in two.
    assert last_lines("aüb€".encode(), 5) == ("b€".encode(), 3)
    assert last_lines("aü€".encode(), 4) == ("€".encode(), 3)


def test_excerpts_say_where_in_the_file_they_are() -> None:
    assert Excerpt(7, 100).select(b"abc", 10) == Selection(b"abc", 7, 10)
    assert Excerpt(700, 100).select(b"", 10) == Selection(b"", 10, 10)
    assert Excerpt(-4, 3).select(b"abcd", 10) == Selection(b"abc", 6, 9)
    assert Excerpt(-4, 100).select(b"\xbcbcd", 10) == Selection(b"bcd", 7, 10)
    # The file begins with such a byte, which is no rest of a character.
    assert Excerpt(-40, 100).select(b"\xbcbcd", 4) == Selection(b"\xbcbcd", 0, 4)
    tail = Excerpt(0, 100, lines=2)
    assert tail.select(b"a\nb\n", 10) == Selection(b"a\nb\n", 6, 10)
    assert tail.select(b"1%\r2%", 10) == Selection(b"2%", 8, 10)
    long = b"\xbc" + b"x" * (WINDOW - 1)
    found = tail.select(long, 2 * WINDOW)
    assert found == Selection(b"x" * 100, 2 * WINDOW - 100, 2 * WINDOW)
    assert Excerpt(0, WINDOW, lines=1).select(long, 2 * WINDOW).start == WINDOW + 1
