"""Parses the options out of the text that a command prints for --help.

Reads the layouts of GNU, argparse, click, curl, rsync, OpenLDAP's and Slurm's clients.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from resop.actions.command import RESERVED

MAX_DESCRIPTION_LENGTH = 120
SKIPPED = {"help", "version", "usage", "h", "?", "NUM"}

_NAME = re.compile(r"--?[A-Za-z0-9?][A-Za-z0-9_-]*")
_BETWEEN = re.compile(r" ?[,|/] ?(?=-)| or (?=-)| (?=-)")
_BRACKETED = r"\([^)]*\)|<[^>]*>|\[[^\]]*\]|\{[^}]*\}"
_AFTER_EQUALS_SIGN = re.compile(rf"\[=[^\]]*\]+|=(?:{_BRACKETED}|[^\s(<\[{{])*")
_AFTER_SPACE = re.compile(
    rf" ((?:{_BRACKETED})[^\s,]*|[A-Z][A-Z0-9_,:=-]*(?: [A-Z]+| \[[^\]]*\])*(?:\.\.\.)?(?=,|  |$))"
)
# OpenLDAP: `-b basedn  base dn for search`
_AFTER_LETTER = re.compile(r" (?!or )([A-Za-z]\S*)")
# grep: `--color[=WHEN],` and in the line below `--colour[=WHEN]  …`
_FURTHER_NAME = re.compile(r"^( *-\S*),\n *(?=-)", re.MULTILINE)
_USAGE = re.compile(r"(usage|or): ", re.IGNORECASE)
_PASSWORD = re.compile("passw(or)?d", re.IGNORECASE)
_FIRST_SENTENCE = re.compile(r".*?[.!](?= |$)|.*")
_TYPES = {"INTEGER": "integer", "FLOAT": "number", "BOOLEAN": "boolean"}


@dataclass(slots=True)
class Option:
    """An option as the help text describes it."""

    flags: list[str]
    value: str | None
    """The placeholder for the value; None if the text shows none."""
    joined: bool
    """True if the value follows '=': `--size=N`."""
    optional: bool
    """True if the value may be left out: `--color[=WHEN]`."""
    shows_values: bool
    """False if the layout shows no values, as Slurm's `--accounts:`."""
    description: list[str] = field(default_factory=list)

    def entries(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (name, entry for commands.yml): two for `--color / --no-color`, else one."""
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
        elif self.value is None and self.shows_values:
            entry["type"] = "flag"
        if text := _unwrap(self.description):
            entry["description"] = _shorten(text)
        if self.value is not None and _PASSWORD.search(f"{flag} {self.value}"):
            # Arguments are visible to every user of a login node.
            entry["enabled"] = False
        return entry

    def _choices(self) -> list[str]:
        """Return the values that argparse writes as {a,b} and click as [a|b]."""
        braces = re.fullmatch(r"\{([^}]+)\}", self.value or "")
        bars = re.fullmatch(r"\[([\w.-]+(?:\|[\w.-]+)+)\]", self.value or "")
        if braces:
            return braces[1].split(",")
        return bars[1].split("|") if bars and not self.joined else []


def options(text: str) -> dict[str, dict[str, Any]]:
    """Return the options by name, as entries of commands.yml; the first of a name counts."""
    entries: dict[str, dict[str, Any]] = {}
    parsed = list(_parse(text))
    # Where no option shows a value, the text does not say which options take one.
    any_value = any(option.value is not None for option in parsed)
    for option in parsed:
        option.shows_values = option.shows_values and any_value
        for name, entry in option.entries():
            entries.setdefault(name, entry)
    return entries


def description(text: str) -> str:
    """Return the first sentence between the usage and the options; "" if there is none."""
    paragraph: list[str] = []
    after_usage = False
    for line in text.expandtabs().splitlines():
        if _parse_line(line):
            break
        if _USAGE.match(line.lstrip()):
            after_usage, paragraph = True, []
        elif re.match(r"(  )?[A-Z]", line) and not line.rstrip().endswith(":") and after_usage:
            paragraph.append(line)
        elif paragraph:
            break
    sentence = _FIRST_SENTENCE.match(_unwrap(paragraph))
    return _shorten(sentence[0]) if sentence else ""


def _parse(text: str) -> Iterator[Option]:
    option: Option | None = None
    indent_of_option = description_column = 0
    for line in _FURTHER_NAME.sub(r"\1, ", text.expandtabs()).splitlines():
        indent = len(line) - len(line.lstrip())
        in_description = option and description_column and indent >= description_column
        parsed = None if in_description else _parse_line(line)
        if parsed:
            if option:
                yield option
            option, rest = parsed
            indent_of_option = indent
            description_column = len(line) - len(rest) if rest else 0
            option.description += [rest] if rest else []
        elif option and line.strip() and indent > indent_of_option + 1:
            option.description.append(line.strip())
            description_column = description_column or indent
        elif option:
            yield option
            option = None
    if option:
        yield option


def _parse_line(line: str) -> tuple[Option, str] | None:
    """Return the option that a line begins with, and the description after it."""
    position = len(line) - len(line.lstrip())
    flags: list[str] = []
    value, joined, optional = None, False, False
    while name := _NAME.match(line, position):
        flags.append(name[0])
        position = name.end()
        if match := _AFTER_EQUALS_SIGN.match(line, position):
            value, joined, position = match[0].strip("[]=:"), True, match.end()
            optional = match[0].startswith("[")
        elif match := _value_after_space(line, position, name[0]):
            value = match[1].rstrip(":")
            position += 1 + len(value)
        if not (between := _BETWEEN.match(line, position)):
            break
        position = between.end()
    rest = line[position:]
    # Slurm's clients put a ':' after the name where others put it after the value.
    shows_values = value is not None or not rest.startswith(":")
    if not flags or not re.match(r":?( |$)|:\S", rest):
        return None
    return Option(flags, value, joined, optional, shows_values), rest.removeprefix(":").strip()


def _value_after_space(line: str, position: int, flag: str) -> re.Match[str] | None:
    """Match the placeholder after a space; after a single letter it may be in lower case."""
    if match := _AFTER_SPACE.match(line, position):
        return match
    return _AFTER_LETTER.match(line, position) if len(flag) == 2 else None


def _unwrap(lines: list[str]) -> str:
    """Join the lines of a paragraph, and words that were hyphenated at a line's end."""
    text = " ".join(line.strip() for line in lines)
    return re.sub(r"(?<=\w)- (?=[a-z])", "-", re.sub(r" {2,}", " ", text))


def _shorten(text: str) -> str:
    return textwrap.shorten(text, MAX_DESCRIPTION_LENGTH, placeholder=" …")
