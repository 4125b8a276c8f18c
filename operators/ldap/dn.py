"""Take distinguished names apart and compare them (RFC 4514)."""

from __future__ import annotations

import re

_ESCAPED = re.compile(r"\\([0-9A-Fa-f]{2})|\\(.)", re.DOTALL)
_SPECIAL = re.compile(r"[\\,+]")


def normalize(dn: str) -> str:
    """Return a DN in the form in which equal ones are equal, whatever their case and spaces."""
    return ",".join(
        "+".join(sorted(map(_normal_pair, _split(rdn, "+")))) for rdn in _split(dn, ",")
    )


def parent(dn: str) -> str:
    """Return the DN of the entry above."""
    return ",".join(_split(dn, ",")[1:]).strip()


def rdn_value(dn: str, attribute: str) -> str | None:
    """Return the value that an attribute has in the first part of a DN; None if it has none."""
    for pair in _split(_split(dn, ",")[0], "+"):
        name, _, value = pair.partition("=")
        if name.strip().lower() == attribute.lower():
            return _unescape(value.strip())
    return None


def rdn_attribute(dn: str) -> str:
    """Return the name of the attribute in the first part of a DN."""
    return dn.partition("=")[0].strip()


def _normal_pair(pair: str) -> str:
    name, _, value = pair.partition("=")
    text = _SPECIAL.sub(_escape, " ".join(_unescape(value.strip()).split()))
    return f"{name.strip()}={text}".lower()


def _split(text: str, separator: str) -> list[str]:
    parts = re.findall(rf"(?:[^\\{separator}]|\\.)+", text, re.DOTALL)
    return parts or [""]


def _escape(found: re.Match[str]) -> str:
    return f"\\{ord(found[0]):02x}"


def _unescape(value: str) -> str:
    """Replace escapes by what they stand for; the hexadecimal ones are bytes of UTF-8."""
    pieces = b""
    position = 0
    for found in _ESCAPED.finditer(value):
        pieces += value[position : found.start()].encode()
        pieces += bytes.fromhex(found[1]) if found[1] else found[2].encode()
        position = found.end()
    return (pieces + value[position:].encode()).decode("utf-8", "replace")
