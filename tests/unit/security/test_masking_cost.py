"""The cost of masking, which no secret and no text can make high."""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resop.security import text_search
from resop.security.masking import MaskedStream, Masker
from resop.security.secret_forms import MAX_FURTHER_FORMS
from resop.types import MASK

pytestmark = pytest.mark.slow

MANY = 200_000
WORST_SECRETS = {
    "quotes": "'" * 4096,
    "mixed quotes": "".join(random.Random(1).choices("'\"\\", k=4096)),
    "one character": "a" * 4096,
    "short and periodic": "aaaa",
    "long and periodic": "ab" * 2000 + "c",
    "lines": "\n".join(f"{number:08x}" for number in range(450)),
    "control characters": "\x1b\x01'" * 1365,
}


def worst_texts(secret: str) -> Iterator[str]:
    yield secret * (MANY // len(secret))
    yield f"{secret} " * (MANY // len(secret))
    yield secret[:-1] * (MANY // len(secret))
    yield from (sign * MANY for sign in "a'\\")
    yield "''x" * (MANY // 3)


@pytest.mark.parametrize("secret", WORST_SECRETS.values(), ids=WORST_SECRETS)
def test_work_is_bounded_by_secret_plus_text(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found, forms = 0, set()

    def counted(text: str, form: str) -> Iterator[text_search.Span]:
        nonlocal found
        forms.add(form)
        for span in occurrences(text, form):
            found += 1
            yield span

    occurrences = text_search.occurrences
    monkeypatch.setattr("resop.security.secret_forms.occurrences", counted)
    masker = Masker([secret])
    for text in worst_texts(secret):
        found = 0
        assert secret not in masker.text(text)
        slices = len(text) // 65_536 + 2
        assert found <= len(text) // 4 + len(forms) * slices
    assert len(forms) <= MAX_FURTHER_FORMS + 10
    assert sum(map(len, forms)) <= 60 * len(secret) + 1000


@given(st.text("ab", min_size=1, max_size=6), st.text("ab", max_size=40))
def test_every_character_of_every_occurrence_is_covered(form: str, text: str) -> None:
    starts = [at for at in range(len(text)) if text.startswith(form, at)]
    expected = {at for start in starts for at in range(start, start + len(form))}
    spans = list(text_search.occurrences(text, form))
    assert {at for start, end in spans for at in range(start, end)} == expected
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_long_repetition_is_covered_as_one_part() -> None:
    text = f"x{'ab' * 50_000}y{'ab' * 20}"
    assert list(text_search.occurrences(text, "abab")) == [(1, 100_001), (100_002, 100_042)]


def test_small_pieces_are_searched_a_few_times_only() -> None:
    searched = 0

    class CountingMasker(Masker):
        def so_far(self, text: str) -> tuple[str, str]:
            nonlocal searched
            searched += len(text)
            return super().so_far(text)

    secret = "a" * 4095 + "b"
    stream = MaskedStream(CountingMasker([secret]))
    text = "a" * 50_000 + secret
    assert "".join([*map(stream.feed, text), stream.finish()]) == "a" * 50_000 + MASK
    assert searched < 40 * len(text)


def test_nothing_made_of_a_secret_is_cached() -> None:
    Masker(["secret' number"]).text("a text with 'quotes''")
    before = len(re._cache)  # type: ignore[attr-defined]
    for number in range(20):
        Masker([f"secret' number {number}"]).text(f"a text with {number} 'quotes''")
    assert len(re._cache) == before  # type: ignore[attr-defined]


@pytest.mark.parametrize("secret", ["hunter2", 'it\'s; "me"', "Pässwörd😀"])
@pytest.mark.parametrize("before", ["", "x", "xy"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_secret_within_base64_is_masked(
    secret: str, before: str, encode: Callable[[bytes], bytes]
) -> None:
    whole = f"{before}{secret}:more".encode()
    readable = Masker([secret]).text(encode(whole).decode()).split(MASK)
    assert len(readable) == 2
    # Of the secret, at most the two characters are left that others share.
    shown = len("".join(readable))
    assert shown <= len(base64.b64encode(whole)) - len(secret.encode()) * 8 // 6 + 2


@pytest.mark.parametrize("text", ["it''s", '"it\\\'s" ok', "''''"])
def test_quotes_are_masked_only_where_there_are_as_many_as_in_the_secret(text: str) -> None:
    assert Masker(["''''''"]).text(text) == text
    assert Masker(["'''''x"]).text(f"{text}x") == f"{text}x"


def test_secret_across_the_slices_of_a_long_text_is_masked() -> None:
    text = "".join(f"{'x' * 61}secret'{number:03}" for number in range(1000)) * 5
    masked = Masker([f"secret'{number:03}" for number in range(0, 1000, 100)]).text(text)
    assert masked.count(MASK) == 50
    assert masked.replace(MASK, "") == re.sub("secret'[0-9]00", "", text)


def test_beginning_of_a_masked_text_has_the_requested_length() -> None:
    text = "hunter2 " * 100_000
    assert Masker(["hunter2"]).text(text, 1000) == (f"{MASK} " * 1000)[:1000]
    assert Masker([]).text(text, 1000) == text[:1000]


def test_texts_with_a_null_character_are_masked_one_by_one() -> None:
    masker = Masker(["secret\0word", "hunter2"])
    assert masker.json(["secret", "word", "a\0hunter2"]) == ["secret", "word", f"a\0{MASK}"]
