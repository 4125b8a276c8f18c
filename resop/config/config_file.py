"""Read the lines of config.env, and refuse misspelled and former names of settings."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import parse_stream

from resop.errors import InvalidSettings

RENAMED_SETTINGS: dict[str, str] = {}
"""The present name of each setting that was renamed, by its former name."""
REMOVED_SETTINGS = {
    "JWT_SECRET": "SECRET_KEY takes its place",
    "CLUSTER_USERS_SSH_KEY_LOCATION": "no key is kept in a file",
    "ENABLE_DB": "DATABASE_URL names a database, and without it one is made",
}
"""Settings of the JavaScript version that have no effect, each with what holds instead."""
RENAMED_VALUES = {("CLUSTER_LOGIN", "kept"): "held"}
"""The present name of each value that was renamed, by setting and former name; since 0.2."""


@dataclass(frozen=True)
class ConfigLine:
    """One `KEY=value` of the file."""

    number: int
    key: str
    value: str


def read_config_file(file: Path) -> list[ConfigLine]:
    """Read the lines of `file`. Raises InvalidSettings, with the number of the faulty line."""
    lines: dict[str, ConfigLine] = {}
    try:
        with file.open(encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as fault:
        raise InvalidSettings(f"{file}: {fault}") from None
    for binding in bindings:
        # The parser counts the blank and comment lines before a binding as part of it.
        text = binding.original.string
        number = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
        if binding.error or (binding.key is not None and binding.value is None):
            # Without the line itself, which may hold a secret.
            raise InvalidSettings(f"{file}:{number}: not of the form KEY=value")
        if binding.key is None or binding.value is None:
            continue
        if binding.key in lines:
            raise InvalidSettings(
                f"{file}:{number}: {binding.key} is set twice; "
                f"the first time in line {lines[binding.key].number}"
            )
        lines[binding.key] = ConfigLine(number, binding.key, binding.value)
    return list(lines.values())


def refuse_former_names(values: Mapping[str, str], places: Mapping[str, str]) -> None:
    """Raise InvalidSettings, with the new name, for a renamed setting or value.

    `values` and `places` are by name; a place is `FILE:LINE` or `environment`, where the settings
    of other programs are as well.
    """
    removed = [
        f"{places[name]}: {name} has no effect, {instead}: remove the line"
        for name, instead in REMOVED_SETTINGS.items()
        if places.get(name, "environment") != "environment"
    ]
    if removed:
        raise InvalidSettings("\n".join(removed))
    for former, name in RENAMED_SETTINGS.items():
        if former in values:
            raise InvalidSettings(f"{places[former]}: {former} is now called {name}")
    for (name, former), value in RENAMED_VALUES.items():
        if values.get(name) == former:
            raise InvalidSettings(f"{places[name]}: {name}={former} is now {name}={value}")


def refuse_misspellings(
    names: Collection[str], known: Collection[str], places: Mapping[str, str]
) -> None:
    """Raise InvalidSettings for a name that is likely a misspelling of a known one."""
    for name in names:
        near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.85)
        near += [each for each in known if sorted(each) == sorted(name.upper())]  # PROT
        if near:
            raise InvalidSettings(
                f"{places[name]}: unknown setting {name}; did you mean {near[0]}?"
            )
