"""`resop config`: the reference of all settings, which is part of the package."""

from __future__ import annotations

import difflib
import re
from importlib import resources

from resop.errors import SetupError

REFERENCE = resources.files("resop.config") / "reference.env"
_SETTING = re.compile(r"#([A-Z][A-Z_]*)=")


def reference(name: str | None = None) -> str:
    """Return the reference in the format of config.env, or the lines about one setting.

    Raises SetupError for a name that is not a setting, with the nearest one.
    """
    text = REFERENCE.read_text(encoding="utf-8")
    if name is None:
        return text
    settings = _settings(text)
    if name.upper() not in settings:
        near = difflib.get_close_matches(name.upper(), settings, n=1)
        hint = f"did you mean {near[0]}?" if near else "`resop config` lists all settings"
        raise SetupError(f"there is no setting {name}; {hint}")
    return settings[name.upper()]


def _settings(text: str) -> dict[str, str]:
    """Split the reference: each setting's line with the comment above it."""
    found = {}
    for paragraph in text.split("\n\n"):
        lines = paragraph.strip("\n")
        if setting := _SETTING.match(lines.rpartition("\n")[2]):
            found[setting[1]] = f"{lines}\n"
    return found
