"""Read the site's settings for its directory, and name the one that is wrong."""

from __future__ import annotations

import json

from resop import Shell


def number_setting(shell: Shell, name: str, default: int | None = None) -> int:
    """Return a setting that is a number; raise OperationFailed for another text."""
    text = shell.setting(name, None if default is None else str(default))
    if not text.strip().isdecimal():
        shell.fail(f"the setting {name} must be a number, not {text!r}")
    return int(text)


def choice_setting(shell: Shell, name: str, choices: tuple[str, ...]) -> str:
    """Return a setting that is one of `choices` in any case; the first one is the default."""
    text = shell.setting(name, choices[0])
    found = [choice for choice in choices if choice.lower() == text.lower()]
    return found[0] if found else shell.fail(f"the setting {name} must be {' or '.join(choices)}")


def words_setting(shell: Shell, name: str) -> list[str]:
    """Return a setting that is a list of words, separated by spaces or commas."""
    return shell.setting(name, "").replace(",", " ").split()


def attributes_setting(shell: Shell, name: str) -> dict[str, list[str]]:
    """Return a setting in JSON that has one value or a list of values for each attribute."""
    text = shell.setting(name, "{}")
    try:
        attributes = json.loads(text)
        return {key: _texts(value) for key, value in attributes.items()}
    except (ValueError, AttributeError):
        example = '{"employeeType": "guest", "ou": ["Physics", "HPC"]}'
        return shell.fail(f"the setting {name} must be JSON such as {example}, not {text!r}")


def fill_in(shell: Shell, name: str, pattern: str, values: dict[str, str]) -> str:
    """Replace each `{name}` in the pattern of a setting by its value."""
    try:
        return pattern.format_map(values)
    except (KeyError, ValueError, IndexError, AttributeError):
        known = ", ".join(f"{{{value}}}" for value in values)
        return shell.fail(f"the setting {name} may contain {known}, but it is {pattern!r}")


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    texts = [each for each in values if isinstance(each, str)]
    if len(texts) < len(values):
        raise ValueError
    return texts
