"""Files and folders of the state: write them with owner and mode; make data folders once."""

import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path


def write_file(path: Path, text: str, *, mode: int = 0o644, owner: str = "root") -> None:
    """Write a daemon's file; at no time do its permissions exceed `mode`."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    change_owner(path, owner)
    path.chmod(mode)


def make_folder(path: Path, *, mode: int = 0o755, owner: str = "root") -> Path:
    """Make a folder if it is missing; set its mode and owner."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)
    change_owner(path, owner)
    return path


def change_owner(path: Path, owner: str) -> None:
    """Change the owner to a Debian system account, which has the same ID in the machine."""
    account = pwd.getpwnam(owner)
    os.chown(path, account.pw_uid, account.pw_gid)


def change_owner_recursively(path: Path, uid: int, gid: int) -> None:
    """Change the owner of a folder and of everything in it."""
    for each in (path, *path.rglob("*")):
        os.chown(each, uid, gid)


def run_once(marker: Path, make: Callable[[], None]) -> None:
    """Call `make` unless it has succeeded before; the marker is written after it."""
    if not marker.exists():
        make()
        marker.touch()


def make_data_folder(path: Path, owner: str, make: Callable[[], None]) -> None:
    """Make a daemon's data folder and fill it by `make`; restart an interrupted attempt."""

    def make_from_scratch() -> None:
        shutil.rmtree(path, ignore_errors=True)
        make_folder(path, mode=0o700, owner=owner)
        make()

    run_once(path.with_name(f"{path.name}.made"), make_from_scratch)
