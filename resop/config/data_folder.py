"""The data folder: only the service's own user may look into it, whatever the umask."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from resop.errors import InvalidSettings

log = logging.getLogger(__name__)

FOLDER_MODE = 0o700
OTHERS = stat.S_IRWXG | stat.S_IRWXO
DEMO_FOLDER = "demo"
"""The folder of the demo login node, whose files belong to its users."""


def prepare_data_folder(folder: Path) -> None:
    """Create the data folder, or take the rights of other users off it and off its files.

    Raises InvalidSettings if that is not possible and other users could read it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        for path in _entries(folder):
            _restrict(path)
    except OSError as fault:
        raise InvalidSettings(f"DATA_DIR: {fault}") from None


def _entries(folder: Path) -> Iterator[Path]:
    """Yield the folder, and what the service keeps in it."""
    yield folder
    for path in folder.iterdir():
        if path.is_symlink() or path.name == DEMO_FOLDER:
            continue
        if path.is_dir():
            yield from _entries(path)
        else:
            yield path


def _restrict(path: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return  # a temporary file of SQLite, for example
    mode = stat.S_IMODE(status.st_mode)
    if not mode & OTHERS:
        return
    if status.st_uid == os.geteuid():
        path.chmod(mode & ~OTHERS)
        log.warning(
            "%s could be accessed by other users: its mode is now 0%o", path, mode & ~OTHERS
        )
    elif mode & stat.S_IRWXO:
        raise InvalidSettings(
            f"DATA_DIR: {path} belongs to UID {status.st_uid} and can be accessed by every user "
            f"(mode 0{mode:o}): run 'chmod o= {path}', or choose a folder of UID {os.geteuid()}"
        )
