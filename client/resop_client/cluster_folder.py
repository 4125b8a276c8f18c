"""A folder on the cluster that only its user can read, and its absolute path."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from resop_client.errors import CallFailed

if TYPE_CHECKING:
    from resop_client._sync.client import Resop

_SCRIPT = """\
#!/bin/sh
umask 077
mkdir -p -- {folder} && (cd -- {folder} && pwd) || exit 73
"""
"""73 is EX_CANTCREAT of sysexits.h."""


def make_folder(hpc: Resop, folder: str) -> str:
    """Make a folder and those above it, and return its absolute path. Raises CallFailed."""
    script = _SCRIPT.format(folder=shlex.quote(folder.removeprefix("~/")))
    made = hpc.core.script(script=script, check=False)
    if made.exit_code != 0:
        raise CallFailed(f"the folder {folder} cannot be made: {last_line(made.stderr)}")
    lines: list[str] = made.stdout.rstrip("\n").split("\n")
    return lines[-1]


def last_line(text: str) -> str:
    """Return the last line of a program's output."""
    return text.strip().rpartition("\n")[2] or "it printed nothing"
