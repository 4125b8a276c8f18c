"""LDIF is written so that it is read back as it was; filters mean what they are given."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from operators.ldap import ldif
from resop import Secret

TEXTS = some.text(some.characters(exclude_categories=["Cs"]), max_size=50)


@settings(suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@example(dn=" ", values=[" x"])
@given(dn=TEXTS, values=some.lists(TEXTS, max_size=3))
def test_what_is_written_is_read_back(dn: str, values: list[str]) -> None:
    parts = [*ldif.line("dn", dn), *ldif.lines("cn", values)]
    text = "".join(part for part in parts if isinstance(part, str))
    assert text.isascii()
    attributes = {"cn": values} if values else {}
    assert ldif.read(text) == [ldif.LdapEntry(dn, attributes)]


def test_secret_stays_one() -> None:
    parts = ldif.line("userPassword", Secret("{SSHA}abc="))
    assert parts == ["userPassword: ", Secret("{SSHA}abc="), "\n"]


def test_pages_and_comments_are_no_entries() -> None:
    printed = "dn: cn=a\ncn: a\ncn:: w7w=\n\n# pagedresults: cookie=\n\ndn: cn=b\n\n"
    assert ldif.read(printed) == [
        ldif.LdapEntry("cn=a", {"cn": ["a", "ü"]}),
        ldif.LdapEntry("cn=b"),
    ]


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        # RFC 4515, section 4
        ("Parens R Us (for all)", "Parens R Us \\28for all\\29"),
        ("*", "\\2a"),
        ("C:\\MyFile", "C:\\5cMyFile"),
        ("\x00", "\\00"),
        ("Lučić", "Lučić"),
    ],
)
def test_every_character_of_a_filter_can_be_meant(text: str, meaning: str) -> None:
    assert ldif.escape_filter(text) == meaning


def test_star_of_a_pattern_stands_for_any_text() -> None:
    assert ldif.match_filter("cn", "*a(b*)(uid=*") == "(cn=*a\\28b*\\29\\28uid=*)"
