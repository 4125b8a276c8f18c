"""The name of a downloaded file, as clients read it."""

from __future__ import annotations

import email.message
import unicodedata

from api.http.content_disposition import attachment


def read(header: str) -> tuple[str, str]:
    """Return the disposition and the name as a client understands them (RFC 2231)."""
    message = email.message.Message()
    message["Content-Disposition"] = header
    return message.get_content_disposition() or "", message.get_filename() or ""


def test_every_client_finds_a_name() -> None:
    names = ["a.txt", "a b;c=d+e.txt", "it's", "a'b", ".hidden", "..", "x#y?z", "a,b", "~"]
    for name in names:
        assert read(attachment(name.encode())) == ("attachment", name), name
    for name, plain in {
        "100%": "100_",
        "%2e%2e": "_2e_2e",
        'say "no"': "say _no_",
        "back\\slash": "back_slash",
        "日本.dat": "__.dat",
        "zwei\nZeilen": "zwei_Zeilen",
        "\x7f": "_",
    }.items():
        first, _, second = attachment(name.encode()).partition("; filename*=")
        assert first == f'attachment; filename="{plain}"'
        assert second.isascii() and second.isprintable(), name
        assert read(f"attachment; filename*={second}") == ("attachment", name), name


def test_spaces_at_the_ends_of_a_name_are_in_the_header() -> None:
    assert attachment(b" x ") == 'attachment; filename=" x "'


def test_names_that_only_look_alike_stay_apart() -> None:
    composed, decomposed = (unicodedata.normalize(form, "Ü.txt") for form in ("NFC", "NFD"))
    assert attachment(composed.encode()) != attachment(decomposed.encode())


def test_name_that_is_no_text_is_made_plain() -> None:
    assert attachment(b"a\xff\xfe.dat") == 'attachment; filename="a__.dat"'
    assert attachment(b"") == 'attachment; filename="file"'
