"""A step that survives, and what is kept of it in the user's home."""

import contextlib
import os
import re
import shutil
import stat
import time
from typing import List, Optional, Tuple

from resop.ssh.runner.remote.processes import here
from resop.ssh.runner.remote.protocol import (
    CHUNK,
    EXIT,
    FORGET,
    HELLO,
    NEVER_BEGAN,
    UNKNOWN,
    WINDOW,
    Frames,
    frame,
    not_run,
)

KEPT = os.path.join(".cache", "resop")
"""In the home, which the login nodes behind one name share: what steps that survive leave there."""
NAME = re.compile("[0-9a-z-]{1,80}")
SPOOL, CONTROL, NEVER_FILE = "spool", "control", "never"
KEPT_SECONDS = 86400.0
"""How long a keeper waits to be told that its step may be forgotten."""
LEFT_SECONDS = 2 * KEPT_SECONDS
POLL_SECONDS = (0.005, 0.25)
UNBORN_SECONDS = 10.0
"""A folder in which no keeper has begun by then was left by a runner that was killed."""


class Kept:
    """A step that a keeper runs, followed through its spool."""

    def __init__(self, number: int, folder: str, have: List[int]) -> None:
        """`have` is how much of each stream is known already."""
        self.number = number
        self.folder = folder
        self.have = {1: have[0], 2: have[1]}
        self.room = {1: WINDOW, 2: WINDOW}
        self.frames = Frames(CHUNK)
        self.waiting: List[Tuple[int, int, bytes]] = []
        self.spool = -1
        self.origin = b""
        """Where its keeper runs; empty while that has not begun."""
        self.news_at = time.monotonic()
        self.look_at = 0.0
        self.brings_news = False
        """Whether its keeper says when there is more to be read."""

    def read(self) -> bool:
        """Read some more of the spool; tell whether there was a frame."""
        try:
            if self.spool < 0:
                self.spool = os.open(os.path.join(self.folder, SPOOL), os.O_RDONLY)
            while not self.waiting:
                data = os.read(self.spool, 1 << 16)
                if not data:
                    return False
                for each in self.frames.feed(data):
                    if each[0] == HELLO:
                        self.origin = each[2]
                    else:
                        self.waiting.append(each)
        except OSError:
            return False
        except ValueError as fault:
            self.waiting.append((EXIT, 1, not_run(UNKNOWN, "its spool has " + str(fault))))
        return True

    def is_gone(self, silent: float) -> Optional[Tuple[int, str]]:
        """Why there will be nothing more; None while there may be."""
        if os.path.exists(os.path.join(self.folder, NEVER_FILE)):
            return NEVER_BEGAN, ""
        if self.tell(b""):
            return None
        if not self.origin:
            late = silent > UNBORN_SECONDS
            return (UNKNOWN, "its keeper was killed before it began") if late else None
        if self.origin == here():
            return UNKNOWN, "its keeper was killed"
        if self.origin.split(b"\n")[0] == here().split(b"\n")[0]:
            return UNKNOWN, "the login node was restarted"
        # On another login node; what it writes is seen, if late. That it ends is seen there.
        if not os.path.exists(self.folder):
            return UNKNOWN, "what was kept of it was removed"
        return None

    def tell(self, data: bytes) -> bool:
        """Send its keeper a frame, or nothing; tell whether it is there, on this login node."""
        return _tell(self.folder, data)

    def close(self) -> None:
        if self.spool >= 0:
            os.close(self.spool)


def folder_of(kept_in: str, name: str) -> str:
    """Where a step of that name leaves what it does; ValueError for what is no name."""
    if not NAME.fullmatch(name):
        raise ValueError(f"a step named {name!r}")
    return os.path.join(kept_in, name)


def make_room(kept_in: str) -> None:
    """Make the folder of all that are kept; OSError where it is not to be trusted."""
    os.makedirs(kept_in, 0o700, exist_ok=True)
    found = os.lstat(kept_in)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{kept_in} is not a folder of this user")
    if found.st_mode & 0o077:
        os.chmod(kept_in, 0o700)


def forget(folder: str, named: bool) -> None:
    """Remove what is kept of a step, which is ended if it runs.

    Where it may still be `named` by a START that is on its way, an empty folder stays for a while.
    """
    if named:
        with contextlib.suppress(OSError):
            leave_name(folder)
    if not _tell(folder, frame(FORGET, 1)):
        remove(folder)


def leave_name(folder: str) -> None:
    """See to it that no step of this name is ever started."""
    os.close(os.open(os.path.join(folder, NEVER_FILE), os.O_WRONLY | os.O_CREAT, 0o600))


def remove(folder: str) -> None:
    """Remove what is kept of a step, with its folder where that need not keep its name taken."""
    for name in (SPOOL, CONTROL):
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(folder, name))
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def _tell(folder: str, data: bytes) -> bool:
    try:
        file = os.open(os.path.join(folder, CONTROL), os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    with contextlib.suppress(OSError):
        os.write(file, data)
    os.close(file)
    return True


def made(folder: str) -> bool:
    """Make a folder; tell whether it was not there."""
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        return False
    return True


def remove_old(kept_in: str) -> None:
    """Remove what nobody has touched in days: a keeper does so every hour."""
    for name in os.listdir(kept_in):
        folder = os.path.join(kept_in, name)
        spool = os.path.join(folder, SPOOL)
        with contextlib.suppress(OSError):
            touched = os.stat(spool if os.path.exists(spool) else folder).st_mtime
            if touched < time.time() - LEFT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
