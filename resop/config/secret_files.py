"""Read secrets from files: `NAME_FILE` names a file that contains the value of `NAME`.

The environment of a process is shown by `docker inspect`, and inherited by its children.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from resop.errors import InvalidSettings

SUFFIX = "_FILE"
MAX_SECRET_BYTES = 65_536


def read_secret_files(
    values: Mapping[str, str], names: Collection[str], places: Mapping[str, str]
) -> dict[str, str]:
    """Return the values of those of `names` that are in files.

    `places` tells where each value was set. Raises InvalidSettings for a name that is set both
    ways, and for a file that cannot be read.
    """
    found = {}
    for name in names:
        if file := values.get(name + SUFFIX):
            place = places[name + SUFFIX]
            if values.get(name):
                raise InvalidSettings(f"{place}: {name} is set as well: use one of the two")
            found[name] = read_secret_file(Path(file), f"{place}: {name}{SUFFIX}")
    return found


def read_secret_file(file: Path, name: str) -> str:
    """Return the text of a file without the line break at its end.

    Raises InvalidSettings, which begins with `name`.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_SECRET_BYTES + 1)
        text = content.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else "it is not UTF-8"
        raise InvalidSettings(f"{name}: {file} cannot be read: {reason}") from None
    if not text or len(content) > MAX_SECRET_BYTES:
        problem = f"has more than {MAX_SECRET_BYTES} bytes" if text else "is empty"
        raise InvalidSettings(f"{name}: {file} {problem}")
    return text
