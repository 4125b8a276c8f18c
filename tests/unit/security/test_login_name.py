"""Names typed at a login: one account has one spelling, or the spelling is refused."""

from __future__ import annotations

import unicodedata

import pytest
from asyncssh.saslprep import SASLPrepError, saslprep
from hypothesis import example, given
from hypothesis import strategies as st

from resop.errors import InvalidOptions
from resop.security.identity import Identity
from resop.security.login_name import check_login_name, failure_key, login_name_fault

ACCEPTED = [
    "alice",
    "Alice",
    "a",
    "_apt",
    "sf.ada@corp.example",
    "CORP\\sfbob",
    "CORP+bob",
    "node01$",
    "sfmüller",
    "日本",
    "1001",
    "alice-admin",
    "x" * 64,
]
DISGUISES = {
    "style": "alice:x",
    "an empty style": "alice:",
    "SELinux role": "alice/staff_r",
    "soft hyphen": "ali\u00adce",
    "word joiner": "\u2060alice",
    "zero-width space": "alice\u200b",
    "zero-width joiner": "ali\u200dce",
    "byte order mark": "\ufeffalice",
    "Mongolian variation selector": "alice\u180b",
    "variation selector": "ali\ufe00ce",
    "variation selector of plane 14": "ali\U000e0100ce",
    "tag character": "alice\U000e0041",
    "combining grapheme joiner": "ali\u034fce",
    "Hangul filler": "alice\u3164",
    "full width": "\uff41lice",
    "mathematical letter": "\U0001d41alice",
    "ligature": "of\ufb01ce",
    "superscript": "alice\u00b2",
    "letter with a compatibility form": "\u017fam",
    "NFD": unicodedata.normalize("NFD", "müller"),
    "Angstrom sign": "\u212bsa",
    "right-to-left override": "alice\u202e",
    "leading space": " alice",
    "trailing space": "alice ",
    "no-break space": "alice\u00a0",
    "ideographic space": "alice\u3000",
    "tab": "alice\t",
    "newline": "alice\n",
    "carriage return": "alice\r",
    "escape": "alice\x1b[1A",
    "delete": "alice\x7f",
    "NUL": "alice\x00",
    "lone surrogate": "alice\ud800",
    "private use": "alice\ue000",
    "unassigned": "alice\u0378",
    "option": "-alice",
    "glob": "al*ce",
    "nothing": "",
    "only a domain": "@main",
    "too long": "x" * 65,
    "mark without a letter": "\u0301alice",
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_names_of_real_sites_are_accepted(name: str) -> None:
    assert login_name_fault(name) is None
    check_login_name(name)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_disguised_name_is_refused_with_a_reason_that_can_be_shown(disguise: str) -> None:
    with pytest.raises(InvalidOptions) as refused:
        check_login_name(DISGUISES[disguise])
    [fault] = refused.value.details["faults"]
    assert fault["field"] == "username"
    assert fault["message"].startswith(("must", "cannot"))
    assert fault["message"].isprintable()


@given(st.text(min_size=1, max_size=70))
@example("ali\u00adce")
def test_an_accepted_name_is_sent_as_it_is(name: str) -> None:
    if login_name_fault(name) is None:
        assert saslprep(name) == name
        assert name.isprintable()
        assert not set(name) & set(":/ *?[]'\"`;&|<>(){},")
    else:
        with pytest.raises(InvalidOptions):
            check_login_name(name)


@given(st.text(min_size=1, max_size=8), st.text(max_size=8))
def test_two_accepted_names_that_look_alike_to_ssh_are_equal(name: str, other: str) -> None:
    texts = [name, other, name + other, f"{name}:{other}", f"{name}\u00ad{other}"]
    accepted = [each for each in texts if login_name_fault(each) is None]
    sent: dict[str, str] = {}
    for each in accepted:
        assert sent.setdefault(saslprep(each).partition(":")[0], each) == each


@given(st.sampled_from(["alice", "bob.b", "müller", "日本"]), st.text(max_size=10))
def test_no_spelling_gets_failures_of_its_own(name: str, tail: str) -> None:
    for spelling in (
        *(f"{name}:{tail}", f"{name}/{tail}", name.upper(), f"CORP\\{name}", f"{name}@corp"),
        *(unicodedata.normalize("NFD", name), f"\u2060{name}", f" {name} ", f"{name}@a@b:{tail}"),
    ):
        assert failure_key(spelling) == failure_key(name)


@given(st.text(max_size=100))
def test_whatever_sasl_preparation_joins_is_counted_together(text: str) -> None:
    try:
        sent = saslprep(text)
    except SASLPrepError:
        return
    assert failure_key(sent) == failure_key(text)


def test_different_people_are_counted_apart() -> None:
    assert len({failure_key(name) for name in ("alice", "bob", "alice2", "müller", "muller")}) == 5


def test_an_identity_is_written_with_its_cluster() -> None:
    assert str(Identity("alice", "main")) == "alice@main"
    assert Identity.parse("alice@main") == Identity("alice", "main")
    assert Identity.parse("alice@corp.example@main") == Identity("alice@corp.example", "main")
    assert Identity("alice", "main") != Identity("alice", "other")


@pytest.mark.parametrize("text", ["alice", "alice@", "@main", "", "@"])
def test_a_name_alone_is_no_identity(text: str) -> None:
    assert Identity.parse(text) is None
