"""LDIF, written and read (RFC 2849), and search filters (RFC 4515)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from resop import Secret


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the directory; names of attributes as they were asked for."""

    dn: str
    attributes: dict[str, list[str]] = field(default_factory=dict)

    def first(self, name: str) -> str | None:
        """The only value of an attribute, or the first of several; None when it has none."""
        return next(iter(self.attributes.get(name, ())), None)


def line(name: str, value: str | Secret) -> list[str | Secret]:
    """`name: value`, in base64 where the value would not survive as it is.

    A Secret has to be printable ASCII, as a password's hash is.
    """
    if isinstance(value, Secret):
        return [f"{name}: ", value, "\n"]
    plain = value.isascii() and value.isprintable() and value == value.strip()
    if plain and not value.startswith((":", "<")):
        return [f"{name}: {value}\n"]
    return [f"{name}:: {base64.b64encode(value.encode()).decode()}\n"]


def lines(name: str, values: Iterable[str | Secret]) -> list[str | Secret]:
    """A line for each value of an attribute."""
    return [part for value in values for part in line(name, value)]


def read(text: str) -> list[Entry]:
    """The entries that `ldapsearch -LLL -o ldif-wrap=no` printed."""
    entries: list[Entry] = []
    for row in text.splitlines():
        name, separator, value = row.partition(":")
        if not separator or row.startswith("#"):
            continue
        if value.startswith(":"):
            value = base64.b64decode(value[1:].strip()).decode("utf-8", "replace")
        else:
            value = value.removeprefix(" ")
        if name == "dn":
            entries.append(Entry(value))
        else:
            entries[-1].attributes.setdefault(name, []).append(value)
    return entries


def escaped(text: str) -> str:
    """Text as it stands in a filter, every character meaning itself."""
    return re.sub(r"[\\*()\x00]", lambda sign: f"\\{ord(sign[0]):02x}", text)


def matching(name: str, pattern: str) -> str:
    """The filter for values like `pattern`, in which `*` stands for any text."""
    return f"({name}={'*'.join(map(escaped, pattern.split('*')))})"
