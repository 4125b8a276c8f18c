"""Say what to do about a module that an operator imports and that does not exist."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def missing_module_hint(module: str, folder: Path) -> str:
    """Return the remedy for a missing module, beginning with ': '.

    `folder` is that of the operator. A module of the operator itself has another name; any other
    one belongs to a library that is not installed.
    """
    first, _, rest = module.partition(".")
    if first == "operators":
        return ""
    if first == folder.name:
        return f": it is operators.{module}"
    if (folder / f"{first}.py").is_file() or (folder / first).is_dir():
        return f": it is operators.{folder.name}.{'.'.join(filter(None, (first, rest)))}"
    return f": {library_hint(first, folder)}"


def library_hint(module: str, folder: Path) -> str:
    """Return how to install the library with a module."""
    python, requirements = shlex.quote(sys.executable), folder / "requirements.txt"
    if requirements.is_file():
        return (
            f"install the operator's libraries: {python} -m pip install --requirement "
            f"{shlex.quote(str(requirements))}"
        )
    return (
        f"the library with the module {module!r} is not installed for {python} "
        "(docs/operators.md#libraries)"
    )
