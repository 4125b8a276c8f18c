"""The folder of a durable step in the user's home: its spool, its control, its tombstone."""

import contextlib
import os
import re
import shutil
import stat
import time
from typing import List, Optional, Tuple

from resop.ssh.runner.remote.processes import boot_identity
from resop.ssh.runner.remote.protocol import (
    CHUNK,
    EXIT,
    FORGET,
    HELLO,
    NEVER_STARTED,
    OUTCOME_UNKNOWN,
    WINDOW_SIZE,
    Frames,
    frame,
    not_run,
)

SPOOL_ROOT = os.path.join(".cache", "resop")
"""In the home, which the login nodes behind one name share."""
STEP_ID = re.compile("[0-9a-z-]{1,80}")
SPOOL, CONTROL, TOMBSTONE = "spool", "control", "never"
FORGET_TIMEOUT = 86400.0
"""Seconds that a supervisor waits for FORGET after its step has ended."""
MAX_AGE = 2 * FORGET_TIMEOUT
MIN_POLL_INTERVAL, MAX_POLL_INTERVAL = 0.005, 0.25
CLAIM_TIMEOUT = 10.0
"""Seconds after which a folder without a supervisor was left by a runner that was killed."""


class SpoolReader:
    """Follows a step that a supervisor runs, through its spool."""

    def __init__(self, number: int, folder: str, offsets: List[int]) -> None:
        """`offsets` are the bytes of stdout and stderr that the service has received already."""
        self.number = number
        self.folder = folder
        self.skip = {1: offsets[0], 2: offsets[1]}
        self.window = {1: WINDOW_SIZE, 2: WINDOW_SIZE}
        self.frames = Frames(CHUNK)
        self.unsent: List[Tuple[int, int, bytes]] = []
        self.file = -1
        self.origin = b""
        """The machine of the supervisor; empty until the step was claimed."""
        self.last_frame_at = time.monotonic()
        self.next_wakeup = 0.0
        self.is_notified = False
        """True if the supervisor reports when there is more to read."""

    def read(self) -> bool:
        """Read more of the spool; return whether there is a frame."""
        try:
            if self.file < 0:
                self.file = os.open(os.path.join(self.folder, SPOOL), os.O_RDONLY)
            while not self.unsent:
                data = os.read(self.file, 1 << 16)
                if not data:
                    return False
                for each in self.frames.feed(data):
                    if each[0] == HELLO:
                        self.origin = each[2]
                    else:
                        self.unsent.append(each)
        except OSError:
            return False
        except ValueError as fault:
            reason = "its spool has " + str(fault)
            self.unsent.append((EXIT, 1, not_run(OUTCOME_UNKNOWN, reason)))
        return True

    def end_reason(self, silence: float) -> Optional[Tuple[int, str]]:
        """Return why the spool stays as it is (how, reason); None while it may grow.

        `silence` is how long it has not grown, in seconds.
        """
        if os.path.exists(os.path.join(self.folder, TOMBSTONE)):
            return NEVER_STARTED, ""
        if self.control(b""):
            return None
        if not self.origin:
            late = silence > CLAIM_TIMEOUT
            return (OUTCOME_UNKNOWN, "its supervisor was killed before it began") if late else None
        if self.origin == boot_identity():
            return OUTCOME_UNKNOWN, "its supervisor was killed"
        if self.origin.split(b"\n")[0] == boot_identity().split(b"\n")[0]:
            return OUTCOME_UNKNOWN, "the login node was restarted"
        # The supervisor is on another login node: its output arrives here late, its end does not.
        if not os.path.exists(self.folder):
            return OUTCOME_UNKNOWN, "its files were removed"
        return None

    def control(self, data: bytes) -> bool:
        """Send the supervisor a frame, or nothing; return whether it is on this login node."""
        return _control(self.folder, data)

    def close(self) -> None:
        """Close the spool."""
        if self.file >= 0:
            os.close(self.file)


def step_folder(root: str, step_id: str) -> str:
    """Return the folder of a step; raises ValueError for what is no step ID."""
    if not STEP_ID.fullmatch(step_id):
        raise ValueError(f"a step named {step_id!r}")
    return os.path.join(root, step_id)


def make_root(root: str) -> None:
    """Make the folder of all durable steps; raises OSError where it cannot be trusted."""
    os.makedirs(root, 0o700, exist_ok=True)
    found = os.lstat(root)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{root} is not a folder of this user")
    if found.st_mode & 0o077:
        os.chmod(root, 0o700)


def forget(folder: str, tombstone: bool) -> None:
    """End a step if it runs, and remove its files.

    With `tombstone` an empty folder stays for a while: a START may still arrive.
    """
    if tombstone:
        with contextlib.suppress(OSError):
            leave_tombstone(folder)
    if not _control(folder, frame(FORGET, 1)):
        remove(folder)


def leave_tombstone(folder: str) -> None:
    """Prevent any step with this ID from being started."""
    os.close(os.open(os.path.join(folder, TOMBSTONE), os.O_WRONLY | os.O_CREAT, 0o600))


def remove(folder: str) -> None:
    """Remove the files of a step, and its folder unless that has a tombstone."""
    for name in (SPOOL, CONTROL):
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(folder, name))
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def _control(folder: str, data: bytes) -> bool:
    try:
        file = os.open(os.path.join(folder, CONTROL), os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    with contextlib.suppress(OSError):
        os.write(file, data)
    os.close(file)
    return True


def claim(folder: str) -> bool:
    """Make a folder; return False if it exists."""
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        return False
    return True


def remove_old(root: str) -> None:
    """Remove the folders that were not touched for MAX_AGE: supervisors touch theirs hourly."""
    for name in os.listdir(root):
        folder = os.path.join(root, name)
        spool = os.path.join(folder, SPOOL)
        with contextlib.suppress(OSError):
            touched = os.stat(spool if os.path.exists(spool) else folder).st_mtime
            if touched < time.time() - MAX_AGE:
                shutil.rmtree(folder, ignore_errors=True)
