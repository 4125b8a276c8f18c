"""Write and read LDIF (RFC 2849), and build search filters (RFC 4515)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from resop import Secret


@dataclass(frozen=True, slots=True)
class LdapEntry:
    """An entry of the directory; names of attributes ignore case."""

    dn: str
    attributes: dict[str, list[str]] = field(default_factory=dict)

    def values(self, name: str) -> list[str]:
        """Return the values of an attribute."""
        wanted = name.lower()
        return [
            value
            for key, values in self.attributes.items()
            if key.lower() == wanted
            for value in values
        ]

    def first(self, name: str) -> str | None:
        """Return the first value of an attribute; None if it has none."""
        return next(iter(self.values(name)), None)


def line(name: str, value: str | Secret) -> list[str | Secret]:
    """Return `name: value`, with the value in base64 unless LDIF allows it as it is.

    A Secret must be printable ASCII, like a password's hash.
    """
    if isinstance(value, Secret):
        return [f"{name}: ", value, "\n"]
    plain = value.isascii() and value.isprintable() and value == value.strip()
    if plain and not value.startswith((":", "<")):
        return [f"{name}: {value}\n"]
    return [f"{name}:: {base64.b64encode(value.encode()).decode()}\n"]


def lines(name: str, values: Iterable[str | Secret]) -> list[str | Secret]:
    """Return one line per value of an attribute."""
    return [part for value in values for part in line(name, value)]


def read(text: str) -> list[LdapEntry]:
    """Parse the output of `ldapsearch -LLL -o ldif-wrap=no`."""
    entries: list[LdapEntry] = []
    for row in text.splitlines():
        name, separator, value = row.partition(":")
        if not separator or row.startswith("#"):
            continue
        if value.startswith(":"):
            value = base64.b64decode(value[1:].strip()).decode("utf-8", "replace")
        else:
            value = value.removeprefix(" ")
        if name == "dn":
            entries.append(LdapEntry(value))
        elif entries:
            entries[-1].attributes.setdefault(name, []).append(value)
    return entries


def escape_filter(text: str) -> str:
    """Escape a text for a filter, so that every character stands for itself."""
    return re.sub(r"[\\*()\x00]", lambda found: f"\\{ord(found[0]):02x}", text)


def match_filter(name: str, pattern: str) -> str:
    """Return the filter for values that match `pattern`, in which `*` matches any text."""
    return f"({name}={'*'.join(map(escape_filter, pattern.split('*')))})"
