"""A process that outlives its runner: it runs durable steps, one after the other."""

import binascii
import contextlib
import json
import os
import selectors
import signal
import struct
import time
from typing import Any, Dict, List, Tuple

from resop.ssh.runner.remote.event_loop import MAX_SLEEP, NEVER
from resop.ssh.runner.remote.processes import HAVE_PROC, become_subreaper, cpu_budget
from resop.ssh.runner.remote.protocol import END, ENDED, FORGET, Frames
from resop.ssh.runner.remote.shell import LoginShell
from resop.ssh.runner.remote.spool import FORGET_TIMEOUT, SPOOL, remove
from resop.ssh.runner.remote.step_loop import StepLoop

DISK_FULL_PAUSE = 1.0
"""Seconds until the next attempt to write a spool."""
MAX_MESSAGE = 1 << 16
"""The bytes that a socket takes at once; a larger step gets a new supervisor."""
FILES = struct.Struct("ii")
"""A step's control and its spool."""
NEW_OUTPUT, IDLE = b"n", b"s"
SUBREAPER_INTERVAL = 0.5
"""Seconds between two searches of a subreaper: all supervisors search at the same time."""


class HandoffSocket:
    """One end of the socket between a runner and a supervisor that it has forked.

    `socket` is imported where it is needed: most runners run no durable step.
    """

    def __init__(self, end: Any) -> None:
        """`end` is a socket that preserves message boundaries."""
        end.setblocking(False)
        self._end = end
        self.file: int = end.fileno()
        self.idle_until = 0.0

    def send_step(self, content: bytes, files: List[int]) -> bool:
        """Send a message with open files; return whether it was sent."""
        import socket

        rights = socket.SOL_SOCKET, socket.SCM_RIGHTS, FILES.pack(*files)
        with contextlib.suppress(OSError):
            return bool(self._end.sendmsg([content], [rights]))
        return False

    def receive_step(self) -> Tuple[bytes, List[int]]:
        """Receive the message and the files; both are empty when the other end is closed."""
        import socket

        size = socket.CMSG_SPACE(FILES.size)
        with contextlib.suppress(OSError):
            content, rights, _, _ = self._end.recvmsg(MAX_MESSAGE, size)
            if rights:
                return content, list(FILES.unpack(rights[0][2]))
        return b"", []

    def notify(self, notice: bytes) -> bool:
        """Send a notice without waiting; return whether it was sent."""
        with contextlib.suppress(OSError):
            return bool(self._end.send(notice))
        return False

    def receive_notice(self) -> bytes:
        """Receive a notice; it is empty when the other end is closed."""
        try:
            notice: bytes = self._end.recv(1)
        except BlockingIOError:
            return NEW_OUTPUT
        except OSError:
            return b""
        return notice

    def close(self) -> None:
        """Close this end."""
        self._end.close()


def socket_pair() -> Tuple[HandoffSocket, HandoffSocket]:
    """Make a socket; return the runner's end and the supervisor's."""
    import socket

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return HandoffSocket(ours), HandoffSocket(theirs)


class Supervisor(StepLoop):
    """Runs steps whatever becomes of the connection.

    The frames of a step go to its spool, which is file 1; file 0 is its control.
    """

    def __init__(self, runner: HandoffSocket, shell: LoginShell) -> None:
        super().__init__("", shell)
        self.is_subreaper = become_subreaper()
        self.cpu_budget = cpu_budget()
        self.runner = runner
        self.folder = ""
        self.forgotten = False
        self.touched_at = 0.0
        self.next_step: Tuple[str, Dict[str, Any]] = ("", {})

    def run_all(self, folder: str, request: Dict[str, Any]) -> None:
        """Run a step, and then the steps that the runner hands off while it exists."""
        self.run(folder, request)
        while self.await_step():
            self.run(*self.next_step)

    def await_step(self) -> bool:
        """Wait for another step; return False at once if processes of the last one are left."""
        self.watch(0, 0, self.read_frames)
        free = self.connected and self.childless and not self.out
        free = free and time.process_time() < self.cpu_budget
        if not free or not self.runner.notify(IDLE):
            return False
        self.next_step = ("", {})
        self.watch(self.runner.file, selectors.EVENT_READ, self.receive_step)
        while self.connected and not self.next_step[0]:
            self.poll_once()
        self.watch(self.runner.file, 0, self.receive_step)
        return self.connected

    def receive_step(self) -> None:
        """Receive the next step, with its control and its spool."""
        content, files = self.runner.receive_step()
        for at, file in enumerate(files):
            os.dup2(file, at)
            os.close(file)
        if content:
            self.next_step = json.loads(content.decode())
        else:
            self.connected = False

    def run(self, folder: str, request: Dict[str, Any]) -> None:
        """Run a step to its end, and wait for FORGET."""
        self.folder, self.mark = folder, os.path.basename(folder)
        self.frames, self.next_wakeup = Frames(), NEVER
        self.forgotten = self.childless = False
        self.touched_at = time.monotonic()
        os.set_blocking(0, False)
        self.watch(0, selectors.EVENT_READ, self.read_frames)
        self.start(1, request)
        for child in self.children.values():
            child.tree.is_subreaper = self.is_subreaper
            if self.is_subreaper:  # mostly the end of the last child makes a search unnecessary
                child.search_interval = SUBREAPER_INTERVAL
            child.window = {1: 1 << 62, 2: 1 << 62}
            child.stdin.buffer += binascii.a2b_base64(request.pop("stdin"))
            child.stdin.at_eof = True
            self.write_stdin(child)
        until = NEVER
        while self.children or (self.connected and not self.forgotten and time.monotonic() < until):
            self.poll_once()
            if not self.children:
                until = min(until, time.monotonic() + FORGET_TIMEOUT)
        self.flush()
        if self.connected:  # else a signal ended the step, which the spool is to show
            remove(self.folder)

    def handle_frame(self, kind: int, number: int, content: bytes) -> None:
        if kind == FORGET:
            self.forgotten = True
        if kind in (FORGET, END) and 1 in self.children:
            self.end(self.children[1], ENDED)

    def write_out(self) -> None:
        """Write to the spool; while the disk is full, the output of the step has to wait."""
        now = time.monotonic()
        if now >= self.touched_at + MAX_SLEEP:
            self.touched_at = now
            with contextlib.suppress(OSError):
                os.utime(os.path.join(self.folder, SPOOL))
        if not self.out:
            return
        try:
            while self.out:
                del self.out[: os.write(1, self.out)]
            self.runner.notify(NEW_OUTPUT)
        except OSError:
            self.next_wakeup = min(self.next_wakeup, now + DISK_FULL_PAUSE)

    def on_wakeup(self) -> None:
        super().on_wakeup()
        if self.out:
            self.next_wakeup = min(self.next_wakeup, time.monotonic() + DISK_FULL_PAUSE)


def run_supervisor(
    runner: StepLoop,
    folder: str,
    request: Dict[str, Any],
    files: List[int],
    handoff: HandoffSocket,
) -> None:
    """Run steps in a process that the runner has forked; close everything of its channel.

    `files` are the first step's control and spool.
    """
    signal.set_wakeup_fd(-1)
    runner.selector.close()
    for at, file in enumerate([*files, runner.shell.null]):
        os.dup2(file, at)
    shell = runner.shell
    shell.null = 2
    kept = (0, 1, 2, handoff.file, shell.script)
    for name in os.listdir("/proc/self/fd") if HAVE_PROC else map(str, range(3, 4096)):
        if int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))
    try:
        Supervisor(handoff, shell).run_all(folder, request)
    finally:
        os._exit(0)
