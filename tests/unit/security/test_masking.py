"""Secrets in whatever is shown or kept."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from resop.security.masking import (
    MaskedStream,
    Masker,
    plain,
    secret_places,
    secrets_in,
    with_secrets,
)
from resop.security.secret_forms import MIN_SECRET_CHARACTERS
from resop.types import MASK, Secret

SECRETS = [
    "hunter2",
    'it\'s; "me"',
    "back\\slash",
    "line one\nline two",
    "tab\there",
    "Pässwörd😀",
    "a*b.c+(d)[e]$",
    "'''quoted'''",
    "{mask} %s",
]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=MIN_SECRET_CHARACTERS)


WRITTEN: dict[str, Callable[[str], str]] = {
    "bare": str,
    "repr": repr,
    "repr of a longer text": lambda secret: repr(f'it\'s "{secret}"'),
    "bytes": lambda secret: repr(secret.encode()),
    "json": json.dumps,
    "json in UTF-8": lambda secret: json.dumps(secret, ensure_ascii=False),
    "json in json": lambda secret: json.dumps({"deep": [json.dumps(secret)]}),
    "shell": shlex.quote,
    "option": lambda secret: shlex.join(["mysql", f"--password={secret}"]),
    "shell in shell": lambda secret: shlex.join(["sh", "-c", shlex.join(["echo", secret])]),
    "shell in shell in shell": lambda secret: shlex.join(
        ["sh", "-c", shlex.join(["sh", "-c", shlex.join(["echo", secret])])]
    ),
    "side by side": lambda secret: f"x{secret}{secret}y",
    "hexadecimal": lambda secret: secret.encode().hex(),
    "HEXADECIMAL": lambda secret: secret.encode().hex().upper(),
    "URL": lambda secret: f"https://host/?password={quote(secret, safe='')}&next=1",
    "URL of a form": lambda secret: urlencode({"user": "ada", "password": secret}),
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_every_written_form_of_a_secret_is_masked(written: Callable[[str], str]) -> None:
    for secret in SECRETS:
        hidden = Masker([secret]).text(written(secret))
        assert MASK in hidden, secret
        for part in secret.split("\n"):
            assert part not in hidden


@given(
    st.lists(st.text("ab'", min_size=MIN_SECRET_CHARACTERS, max_size=8), max_size=3),
    st.lists(st.text("ab'\n ", max_size=12), max_size=8),
    st.data(),
)
def test_text_in_pieces_is_masked_like_the_whole_text(
    secrets: list[str], pieces: list[str], data: st.DataObject
) -> None:
    masker = Masker(secrets)
    for secret in secrets:
        cut = data.draw(st.integers(0, len(secret)))
        at = data.draw(st.integers(0, len(pieces)))
        pieces = [*pieces[:at], secret[:cut], secret[cut:], *pieces[at:]]
    whole, shown, held = masker.text("".join(pieces)), "", ""
    for piece in pieces:
        new, held = masker.so_far(held + piece)
        shown += new
        assert whole.startswith(shown)
    assert shown + masker.text(held) == whole
    stream = MaskedStream(masker)
    assert "".join([*map(stream.feed, pieces), stream.finish()]) == whole


@settings(deadline=None)
@given(secret=TEXTS, before=st.text(), after=st.text())
def test_secret_is_found_anywhere_in_a_text(secret: str, before: str, after: str) -> None:
    hidden = Masker([secret]).text(before + secret + after)
    assert MASK in hidden
    assert secret not in hidden.replace(MASK, "")


def test_each_line_of_a_secret_is_masked_on_its_own() -> None:
    key = "-----BEGIN KEY-----\nb3BlbnNzaC1rZXktdjE\nend\n-----END KEY-----\n"
    assert Masker([key]).text("got b3BlbnNzaC1rZXktdjE at the end") == f"got {MASK} at the end"


def test_longer_secret_wins_over_one_that_begins_it() -> None:
    masker = Masker(["pass", "password-long"])
    assert masker.text("pass password-long") == f"{MASK} {MASK}"


def test_short_secret_leaves_ordinary_text_readable() -> None:
    assert Masker(["abc"[: MIN_SECRET_CHARACTERS - 1], ""]).text("abcdef") == "abcdef"


def test_secrets_learned_later_are_masked_from_then_on() -> None:
    masker = Masker()
    assert masker.text("hunter2") == "hunter2"
    masker.learn(["hunter2"])
    masker.learn(["other-secret"])
    assert masker.text("hunter2 other-secret") == f"{MASK} {MASK}"


def test_nested_json_is_masked_in_keys_texts_and_numbers() -> None:
    record = {
        "error": {"step": {"command": "echo hunter2", "stderr": ["a", ["hunter2"]]}},
        "hunter2": ("x", None, True, 1.5),
        "pin": 48151623,
        "pins": [481516.23, 4815],
    }
    hidden = Masker(["hunter2", "48151623", "481516.23"]).json(record)
    assert hidden == {
        "error": {"step": {"command": f"echo {MASK}", "stderr": ["a", [MASK]]}},
        MASK: ["x", None, True, 1.5],
        "pin": MASK,
        "pins": [MASK, 4815],
    }


def test_json_without_secrets_is_the_same() -> None:
    value = {"a": [1, 2.5, None, True, "text"], "b": {}}
    assert Masker(["hunter2"]).json(value) == value
    assert Masker().json(value) is value


class Inner(BaseModel):
    model_config = ConfigDict(extra="allow")
    hidden: Secret = Field(alias="json")


@dataclasses.dataclass
class Pair:
    user: str
    password: Secret


def every_place(secret: Secret) -> dict[str, Any]:
    return {
        "bare": secret,
        "list": [[secret]],
        "tuple": (secret,),
        "set": {secret},
        "frozen": frozenset([secret]),
        "model": Inner.model_validate({"json": secret, "further": secret}),
        "dataclass": Pair("ada", secret),
    }


@pytest.mark.parametrize("place", every_place(Secret("x")))
def test_secret_is_found_in_every_kind_of_value(place: str) -> None:
    value = every_place(Secret("hunter2"))[place]
    assert set(secrets_in({"option": value})) == {"hunter2"}
    hidden, revealed = (plain({"option": value}, reveal=reveal) for reveal in (False, True))
    assert "hunter2" not in json.dumps(hidden)
    assert json.dumps(hidden).replace(MASK, "hunter2") == json.dumps(revealed)


def test_revealed_model_reads_back_by_the_names_of_a_request() -> None:
    inner = Inner(json=Secret("hunter2"))
    assert plain(inner, reveal=True) == {"json": "hunter2"}
    assert Inner.model_validate(plain(inner, reveal=True)) == inner


def test_text_without_secrets_has_none() -> None:
    assert secrets_in({"a": ["x", 1, None], "b": Pair}) == []


def test_secrets_of_an_answer_go_back_to_their_places_and_nowhere_else() -> None:
    @dataclasses.dataclass
    class Part:
        word: Secret

    for answer, shown in (
        (Secret("one"), "one"),
        (
            {"a": [Secret("one"), {"b": Secret("two")}], "c": 1},
            {"a": ["one", {"b": "two"}], "c": 1},
        ),
        ([Part(Secret("one")), None], [{"word": "one"}, None]),
        ({"a": MASK}, {"a": MASK}),
    ):
        masked = plain(answer, reveal=False)
        places = json.loads(json.dumps(list(secret_places(answer))))
        assert with_secrets(masked, places) == shown
        assert masked == plain(answer, reveal=False), "it is not changed itself"
    lost: list[list[str | int]] = [["a", "b"], ["c", 3], ["d"], ["e", 0]]
    rest = {"a": None, "c": [1], "e": 5}
    assert with_secrets(rest, [(place, "x") for place in lost]) == rest
