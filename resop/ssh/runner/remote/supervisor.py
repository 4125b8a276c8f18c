"""A process of the runner's that outlives it: runs the steps that survive, one after the other."""

import binascii
import contextlib
import json
import os
import selectors
import signal
import struct
import time
from typing import Any, Dict, List, Tuple

from resop.ssh.runner.remote.event_loop import NEVER, TOUCH_SECONDS, Engine
from resop.ssh.runner.remote.processes import HAVE_PROC, adopt
from resop.ssh.runner.remote.protocol import END, FORGET, ON_REQUEST, Frames
from resop.ssh.runner.remote.spool import KEPT_SECONDS, SPOOL, remove

FULL_SECONDS = 1.0
"""Until a spool that could not be written is tried again."""
HANDED_BYTES = 1 << 16
"""What a socket takes at once; a larger step has a keeper of its own."""
HANDED_FILES = struct.Struct("ii")
"""A step's control and its spool."""
NEWS, SPARE = b"n", b"s"
ADOPTED_TICK_SECONDS = 0.5
"""Of steps whose processes are its own: as many keepers search at once as steps are ended."""


class Line:
    """One end of what joins a runner and a keeper that it has forked.

    `socket` is imported where it is needed: many a runner keeps no step.
    """

    def __init__(self, end: Any) -> None:
        """`end` is a socket that keeps messages apart."""
        end.setblocking(False)
        self._end = end
        self.file: int = end.fileno()
        self.spare_until = 0.0

    def hand(self, content: bytes, files: List[int]) -> bool:
        """Send a message and open files, which stay open on their way; False if it is not taken."""
        import socket

        rights = socket.SOL_SOCKET, socket.SCM_RIGHTS, HANDED_FILES.pack(*files)
        with contextlib.suppress(OSError):
            return bool(self._end.sendmsg([content], [rights]))
        return False

    def handed(self) -> Tuple[bytes, List[int]]:
        """The message and the files; both empty when there is nobody any more."""
        import socket

        room = socket.CMSG_SPACE(HANDED_FILES.size)
        with contextlib.suppress(OSError):
            content, rights, _, _ = self._end.recvmsg(HANDED_BYTES, room)
            if rights:
                return content, list(HANDED_FILES.unpack(rights[0][2]))
        return b"", []

    def say(self, word: bytes) -> bool:
        """Send one word, without waiting; tell whether that could be done."""
        with contextlib.suppress(OSError):
            return bool(self._end.send(word))
        return False

    def heard(self) -> bytes:
        """One word; empty when there is nobody any more."""
        try:
            word: bytes = self._end.recv(1)
        except BlockingIOError:
            return NEWS
        except OSError:
            return b""
        return word

    def close(self) -> None:
        self._end.close()


def joined() -> Tuple[Line, Line]:
    """The two ends of a line: the runner's, and the keeper's."""
    import socket

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Line(ours), Line(theirs)


class Keeper(Engine):
    """Runs steps whatever becomes of the connection, one after the other.

    The frames of each go to its spool, which is file 1; file 0 is its control.
    """

    def __init__(self, line: Line) -> None:
        """`line` is its end of the one to the runner."""
        super().__init__("")
        self.adopts = adopt()
        self.line = line
        self.home = ""
        self.forgotten = False
        self.touched_at = 0.0
        self.handed: Tuple[str, Dict[str, Any]] = ("", {})

    def run_all(self, folder: str, request: Dict[str, Any]) -> None:
        """Run this step, and then those that the runner hands over while it is there."""
        self.run(folder, request)
        while self.has_next():
            self.run(*self.handed)

    def has_next(self) -> bool:
        """Wait for another step; there is none where something of the last one is still there."""
        self.watch(0, 0, self.read_frames)
        free = self.connected and self.childless and not self.out
        if not free or not self.line.say(SPARE):
            return False
        self.handed = ("", {})
        self.watch(self.line.file, selectors.EVENT_READ, self.take_over)
        while self.connected and not self.handed[0]:
            self.turn()
        self.watch(self.line.file, 0, self.take_over)
        return self.connected

    def take_over(self) -> None:
        """The step that was handed over, with its control and its spool."""
        content, files = self.line.handed()
        for at, file in enumerate(files):
            os.dup2(file, at)
            os.close(file)
        if content:
            self.handed = json.loads(content.decode())
        else:
            self.connected = False

    def run(self, folder: str, request: Dict[str, Any]) -> None:
        """Run a step to its end, and wait until it may be forgotten."""
        self.home, self.mark = folder, os.path.basename(folder)
        self.frames, self.look_at = Frames(), NEVER
        self.forgotten = self.childless = False
        self.touched_at = time.monotonic()
        os.set_blocking(0, False)
        self.watch(0, selectors.EVENT_READ, self.read_frames)
        self.start(1, request)
        for step in self.steps.values():
            step.adopts = self.adopts
            if step.adopts:  # most often the end of its last child is the end, without a search
                step.tick = ADOPTED_TICK_SECONDS
            step.room = {1: 1 << 62, 2: 1 << 62}
            step.input += binascii.a2b_base64(request.pop("given"))
            step.input_ends = True
            self.write_input(step)
        until = NEVER
        while self.steps or (self.connected and not self.forgotten and time.monotonic() < until):
            self.turn()
            if not self.steps:
                until = min(until, time.monotonic() + KEPT_SECONDS)
        self.flush()
        if self.connected:  # else it was told to end, and whoever asks is to see that
            remove(self.home)

    def take(self, kind: int, number: int, content: bytes) -> None:
        if kind == FORGET:
            self.forgotten = True
        if kind in (FORGET, END) and 1 in self.steps:
            self.end(self.steps[1], ON_REQUEST)

    def write_out(self) -> None:
        """While the disk is full, what the step prints has to wait."""
        now = time.monotonic()
        if now >= self.touched_at + TOUCH_SECONDS:
            self.touched_at = now
            with contextlib.suppress(OSError):
                os.utime(os.path.join(self.home, SPOOL))
        if not self.out:
            return
        try:
            while self.out:
                del self.out[: os.write(1, self.out)]
            self.line.say(NEWS)
        except OSError:
            self.look_at = min(self.look_at, now + FULL_SECONDS)

    def look_after_time(self) -> None:
        super().look_after_time()
        if self.out:
            self.look_at = min(self.look_at, time.monotonic() + FULL_SECONDS)


def become(
    runner: Engine, folder: str, request: Dict[str, Any], files: List[int], line: Line
) -> None:
    """In a process that the runner has forked: run a step, with nothing left of its channel.

    `files` are the step's control and its spool.
    """
    signal.set_wakeup_fd(-1)
    runner.selector.close()
    for at, file in enumerate([*files, runner.null]):
        os.dup2(file, at)
    for name in os.listdir("/proc/self/fd") if HAVE_PROC else map(str, range(3, 4096)):
        if int(name) > 2 and int(name) != line.file:
            with contextlib.suppress(OSError):
                os.close(int(name))
    try:
        Keeper(line).run_all(folder, request)
    finally:
        os._exit(0)
