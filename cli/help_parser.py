"""Reads the options out of what a command prints for --help.

The layouts read are those of GNU, argparse, click, curl, rsync, OpenLDAP's and Slurm's clients.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from resop.actions.command import RESERVED

LONGEST_DESCRIPTION = 120
SKIPPED = {"help", "version", "usage", "h", "?", "NUM"}

_NAME = re.compile(r"--?[A-Za-z0-9?][A-Za-z0-9_-]*")
_BETWEEN = re.compile(r" ?[,|/] ?(?=-)| or (?=-)| (?=-)")
_BRACKETED = r"\([^)]*\)|<[^>]*>|\[[^\]]*\]|\{[^}]*\}"
_JOINED = re.compile(rf"\[=[^\]]*\]+|=(?:{_BRACKETED}|[^\s(<\[{{])*")
_NEXT = re.compile(
    rf" ((?:{_BRACKETED})[^\s,]*|[A-Z][A-Z0-9_,:=-]*(?: [A-Z]+| \[[^\]]*\])*(?:\.\.\.)?(?=,|  |$))"
)
# OpenLDAP: `-b basedn  base dn for search`
_NEXT_TO_A_LETTER = re.compile(r" (?!or )([A-Za-z]\S*)")
# grep: `--color[=WHEN],` and in the line below `--colour[=WHEN]  …`
_FURTHER_NAME = re.compile(r"^( *-\S*),\n *(?=-)", re.MULTILINE)
_USAGE = re.compile(r"(usage|or): ", re.IGNORECASE)
_PASSWORD = re.compile("passw(or)?d", re.IGNORECASE)
_TYPES = {"INTEGER": "integer", "FLOAT": "number", "BOOLEAN": "boolean"}


@dataclass(slots=True)
class Option:
    """An option as the text tells it."""

    flags: list[str]
    value: str | None
    """What stands for its value; None where the text shows none."""
    joined: bool
    """Whether the value stands behind '='."""
    optional: bool
    """Whether it also stands without a value: `--color[=WHEN]`."""
    told: bool
    """Whether the layout is one that shows values; Slurm's `--accounts:` is not."""
    description: list[str] = field(default_factory=list)

    def entries(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Its names, each with the entry of commands.yml; two for `--color / --no-color`."""
        long = [flag for flag in self.flags if flag.startswith("--")]
        chosen = (long or sorted(self.flags, key=len, reverse=True))[0]
        opposite = [flag for flag in long if flag == f"--no-{chosen[2:]}"]
        for flag in [chosen, *opposite]:
            name = flag.lstrip("-").replace("-", "_")
            if name not in SKIPPED:
                yield (f"{name}_option" if name in RESERVED else name), self._entry(flag)

    def _entry(self, flag: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"flag": f"{flag}=" if self.joined else flag}
        if choices := self._choices():
            entry |= {"type": "choice", "choices": choices}
        elif self.value is not None and not self.optional:
            entry["type"] = _TYPES.get(self.value.split(" ")[0], "string")
        elif self.value is None and self.told:
            entry["type"] = "flag"
        if text := _joined_lines(self.description):
            entry["description"] = textwrap.shorten(text, LONGEST_DESCRIPTION, placeholder=" …")
        if self.value is not None and _PASSWORD.search(f"{flag} {self.value}"):
            entry["enabled"] = False  # every user of a login node could read it
        return entry

    def _choices(self) -> list[str]:
        """argparse writes {a,b}, click [a|b]."""
        braces = re.fullmatch(r"\{([^}]+)\}", self.value or "")
        bars = re.fullmatch(r"\[([\w.-]+(?:\|[\w.-]+)+)\]", self.value or "")
        if braces:
            return braces[1].split(",")
        return bars[1].split("|") if bars and not self.joined else []


def options(text: str) -> dict[str, dict[str, Any]]:
    """The options of a help text, by name, as commands.yml has them; the first of a name counts."""
    found: dict[str, dict[str, Any]] = {}
    read = list(_read(text))
    # Where no option shows a value, the text leaves open which have one.
    shows_values = any(option.value is not None for option in read)
    for option in read:
        option.told = option.told and shows_values
        for name, entry in option.entries():
            found.setdefault(name, entry)
    return found


def description(text: str) -> str:
    """The first sentence between the usage and the options; "" where there is none."""
    paragraph: list[str] = []
    after_usage = False
    for line in text.expandtabs().splitlines():
        if _option(line):
            break
        if _USAGE.match(line.lstrip()):
            after_usage, paragraph = True, []
        elif re.match(r"(  )?[A-Z]", line) and not line.rstrip().endswith(":") and after_usage:
            paragraph.append(line)
        elif paragraph:
            break
    said = re.match(r".*?[.!](?= |$)|.*", _joined_lines(paragraph))
    return textwrap.shorten(said[0] if said else "", LONGEST_DESCRIPTION, placeholder=" …")


def _read(text: str) -> Iterator[Option]:
    option: Option | None = None
    start = column = 0  # of the option, and of its description
    for line in _FURTHER_NAME.sub(r"\1, ", text.expandtabs()).splitlines():
        indent = len(line) - len(line.lstrip())
        made = _option(line) if not option or indent < column or not column else None
        if made:
            if option:
                yield option
            option, rest = made
            start, column = indent, len(line) - len(rest) if rest else 0
            option.description += [rest] if rest else []
        elif option and line.strip() and indent > start + 1:
            option.description.append(line.strip())
            column = column or indent
        elif option:
            yield option
            option = None
    if option:
        yield option


def _option(line: str) -> tuple[Option, str] | None:
    """The option that a line begins with, and the description behind it."""
    at = len(line) - len(line.lstrip())
    flags: list[str] = []
    value, joined, optional = None, False, False
    while name := _NAME.match(line, at):
        flags.append(name[0])
        at = name.end()
        if found := _JOINED.match(line, at):
            value, joined, at = found[0].strip("[]=:"), True, found.end()
            optional = found[0].startswith("[")
        elif found := _spaced(line, at, name[0]):
            value, at = found[1].rstrip(":"), at + 1 + len(found[1].rstrip(":"))
        if not (between := _BETWEEN.match(line, at)):
            break
        at = between.end()
    rest = line[at:]
    # Slurm's clients set a ':' behind the name, as others do behind the value.
    told = value is not None or not rest.startswith(":")
    if not flags or not re.match(r":?( |$)|:\S", rest):
        return None
    return Option(flags, value, joined, optional, told), rest.removeprefix(":").strip()


def _spaced(line: str, at: int, flag: str) -> re.Match[str] | None:
    """What stands for a value behind a space; of a letter's, one in small letters, too."""
    return _NEXT.match(line, at) or (_NEXT_TO_A_LETTER.match(line, at) if len(flag) == 2 else None)


def _joined_lines(lines: list[str]) -> str:
    text = " ".join(line.strip() for line in lines)
    return re.sub(r"(?<=\w)- (?=[a-z])", "-", re.sub(r" {2,}", " ", text))
