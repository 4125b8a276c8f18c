"""Files and folders of the state: with their owner and mode, and made once where they hold data."""

import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path


def write(path: Path, text: str, *, mode: int = 0o644, owner: str = "root") -> None:
    """Write a file of a daemon; it never has a laxer mode than `mode`."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    give(path, owner)
    path.chmod(mode)


def folder(path: Path, *, mode: int = 0o755, owner: str = "root") -> Path:
    """A folder, made if it is missing."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)
    give(path, owner)
    return path


def give(path: Path, owner: str) -> None:
    """Make a system account of Debian's the owner: it has the same number in the machine."""
    account = pwd.getpwnam(owner)
    os.chown(path, account.pw_uid, account.pw_gid)


def give_all(path: Path, uid: int, gid: int) -> None:
    """Make a user the owner of a folder and of all that is in it."""
    for each in (path, *path.rglob("*")):
        os.chown(each, uid, gid)


def once(marker: Path, make: Callable[[], None]) -> None:
    """Call `make` unless it has succeeded before: the marker is written last."""
    if not marker.exists():
        make()
        marker.touch()


def data(path: Path, owner: str, make: Callable[[], None]) -> None:
    """A daemon's data folder, filled by `make`; what an interrupted attempt left is thrown away."""

    def anew() -> None:
        shutil.rmtree(path, ignore_errors=True)
        folder(path, mode=0o700, owner=owner)
        make()

    once(path.with_name(f"{path.name}.made"), anew)
