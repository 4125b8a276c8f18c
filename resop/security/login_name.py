"""Check the name typed at a login before it is sent: several spellings may mean one account.

OpenSSH ignores what follows a ':' (the "style"), with Debian's and Red Hat's patches also what
follows a '/' (the SELinux role). SSH clients apply SASLprep (RFC 4013): it removes invisible
characters and replaces others, such as full-width letters. Directories may ignore case, and may
accept a domain before or behind the name.
"""

from __future__ import annotations

import re
import string
import stringprep
import unicodedata

from asyncssh.saslprep import SASLPrepError, saslprep

from resop.errors import InvalidOptions

MAX_NAME_LENGTH = 64
_FIRST = frozenset(string.ascii_letters + string.digits + "_")
_ASCII = _FIRST | frozenset(".-$@\\+")
"""The characters of names on POSIX systems, in Active Directory and in Samba."""
_LETTERS = frozenset(["Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Mn", "Mc"])
"""The Unicode categories of letters, of digits and of the marks that belong to letters."""
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Characters of these categories that are shown as nothing (Default_Ignorable_Code_Point)."""
_IGNORED_BY_SSHD = {
    ":": "sshd ignores what follows a ':'",
    "/": "some sshd ignore what follows a '/'",
}


def check_login_name(text: str) -> None:
    """Raise InvalidOptions unless every sshd reads `text` as exactly these characters."""
    if fault := login_name_fault(text):
        raise InvalidOptions.of("username", fault)


def login_name_fault(text: str) -> str | None:
    """Return why `text` is refused as a user name, or None if it is one."""
    if not 0 < len(text) <= MAX_NAME_LENGTH:
        return f"must have 1 to {MAX_NAME_LENGTH} characters"
    for character in text:
        if reason := _IGNORED_BY_SSHD.get(character):
            return f"must not contain {character!r}: {reason}"
        if not _is_name_character(character):
            return (
                f"must not contain {character!a}: a user name consists of letters, digits, "
                "'.', '_', '-', '$', '+', '@' and '\\'"
            )
    if text[0] not in _FIRST and not (text[0] > "\x7f" and text[0].isalnum()):
        return "must begin with a letter, a digit or '_'"
    try:
        prepared = saslprep(text)
    except SASLPrepError as fault:
        return f"cannot be sent over SSH: {ascii(str(fault))[1:-1]}"
    if prepared != text or unicodedata.normalize("NFKC", text) != text:
        return "must be in its normal form (Unicode NFKC): SSH would send another name"
    return None


def failure_key(text: str) -> str:
    """Return the common form of an account's spellings, to count its failed logins.

    Takes any text. Two accounts may share a key, for instance `alice@a` and `alice@b`; but nobody
    gets more attempts at one account by spelling it differently.
    """
    visible = text
    for _ in range(2):  # a compatibility form may contain what the first round removes
        visible = unicodedata.normalize("NFKC", "".join(filter(_is_visible, visible)))
    account = account_part(re.split("[:/]", visible, maxsplit=1)[0])
    return unicodedata.normalize("NFKC", account.casefold())[:MAX_NAME_LENGTH]


def account_part(name: str) -> str:
    r"""Return a name without its domain: `alice` for `alice@example.org` and for `CORP\alice`."""
    return re.split(r"[\\+]", name)[-1].partition("@")[0] or name


def _is_visible(character: str) -> bool:
    return not (
        unicodedata.category(character)[0] in "CZ"
        or stringprep.in_table_b1(character)
        or _INVISIBLE.match(character)
    )


def _is_name_character(character: str) -> bool:
    if character <= "\x7f":
        return character in _ASCII
    return unicodedata.category(character) in _LETTERS and not _INVISIBLE.match(character)
