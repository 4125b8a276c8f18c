"""Run steps for the service on the login node; durable ones in supervisors that outlive this.

The service sends this program to the node's own python3 (3.6 or later, standard library only).
Nothing is written to disk but the output of durable steps. docs/runner.md describes the protocol.
"""

import contextlib
import json
import os
import pwd
import resource
import selectors
import sys
import time
from typing import Any, Dict, List, Optional

from resop.ssh.runner.remote.event_loop import MAX_BACKLOG, NEVER
from resop.ssh.runner.remote.processes import boot_identity, cpu_budget, prctl
from resop.ssh.runner.remote.protocol import (
    END,
    ENDED,
    EXIT,
    FORGET,
    FORGET_FIELDS,
    HELLO,
    HELLO_FIELDS,
    MAX_STEPS,
    NOT_DURABLE,
    NOT_STARTED,
    RETIRE,
    START,
    STDERR,
    STDIN,
    STDIN_EOF,
    STDOUT,
    VERSION,
    WINDOW_ADJUST,
    WINDOW_ADJUST_FIELDS,
    frame,
    not_run,
)
from resop.ssh.runner.remote.shell import LoginShell
from resop.ssh.runner.remote.spool import (
    CONTROL,
    MAX_POLL_INTERVAL,
    MIN_POLL_INTERVAL,
    SPOOL,
    SPOOL_ROOT,
    SpoolReader,
    claim,
    forget,
    leave_tombstone,
    make_root,
    remove,
    remove_old,
    step_folder,
)
from resop.ssh.runner.remote.step_loop import StepLoop
from resop.ssh.runner.remote.supervisor import (
    IDLE,
    MAX_MESSAGE,
    NEW_OUTPUT,
    HandoffSocket,
    run_supervisor,
    socket_pair,
)

MAX_SILENCE = 1.0
"""Seconds without a frame until a runner looks whether the supervisor is still there."""
IDLE_TIMEOUT, MAX_IDLE = 10.0, 32
"""The seconds that a supervisor waits for another step, and how many may wait."""


class Runner(StepLoop):
    """All steps of one channel of a connection."""

    def __init__(self, mark: str) -> None:
        super().__init__(mark, LoginShell())
        self.cpu_budget = cpu_budget()
        self.root = os.path.join(pwd.getpwuid(os.getuid()).pw_dir, SPOOL_ROOT)
        self.removed_old = False
        self.readers: Dict[int, SpoolReader] = {}
        """The steps that supervisors run."""
        self.supervisors: Dict[HandoffSocket, Optional[SpoolReader]] = {}
        """The supervisors that it has forked, with the step that each of them runs."""
        self.idle: List[HandoffSocket] = []
        """The supervisors without a step; the longest idle first."""

    def serve(self) -> None:
        """Serve until the connection is gone, and then until all steps have ended."""
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        max_steps = MAX_STEPS if files < 0 else max(1, min(MAX_STEPS, (files - 64) // 3))
        hello = HELLO_FIELDS.pack(
            VERSION, max_steps, self.shell.reads_rc_files, self.shell.name == "fish"
        )
        self.send(HELLO, 0, hello)
        while self.connected or self.children:
            self.poll_once()

    def poll_once(self, until: float = NEVER) -> None:
        """Do what is due, also for the steps that supervisors run."""
        wakeups = [each.next_wakeup for each in self.readers.values()]
        wakeups += [each.idle_until for each in self.idle[:1]]
        super().poll_once(min([until, *wakeups]))
        now = time.monotonic()
        for reader in list(self.readers.values()):
            if now >= reader.next_wakeup:
                self.follow(reader)
        while self.idle and now >= self.idle[0].idle_until:
            self.dismiss(self.idle[0])
        if time.process_time() > self.cpu_budget:
            self.cpu_budget = NEVER
            self.send(RETIRE, 0)

    def on_disconnect(self) -> None:
        """End all steps but those of supervisors."""
        self.readers.clear()
        for supervisor in list(self.supervisors):
            self.dismiss(supervisor)
        super().on_disconnect()

    def handle_frame(self, kind: int, number: int, content: bytes) -> None:
        """Do what a frame asks for; ignore frames for a step that has just ended."""
        if kind == START:
            request = json.loads(content.decode())
            if request.get("step_id"):
                self.start_durable(number, request)
            else:
                self.start(number, request)
        elif kind == FORGET:
            size = FORGET_FIELDS.size
            folder = step_folder(self.root, content[size:].decode())
            forget(folder, *FORGET_FIELDS.unpack(content[:size]))
        elif kind not in (STDIN, STDIN_EOF, WINDOW_ADJUST, END):
            raise ValueError(f"a frame of type {kind}")
        elif number in self.readers:
            reader = self.readers[number]
            if kind == END:
                reader.control(frame(END, 1))
            elif kind == WINDOW_ADJUST:
                stream, size = WINDOW_ADJUST_FIELDS.unpack(content)
                reader.window[stream] += size
                reader.next_wakeup = 0.0
        elif number in self.children:
            child = self.children[number]
            if kind == END:
                self.end(child, ENDED)
            elif kind == WINDOW_ADJUST:
                stream, size = WINDOW_ADJUST_FIELDS.unpack(content)
                child.window[stream] += size
                self.watch_output(child, stream)
            else:
                child.stdin.buffer += content
                child.stdin.at_eof = kind == STDIN_EOF
                self.write_stdin(child)

    def write_out(self) -> None:
        try:
            while self.out and self.connected:
                del self.out[: os.write(1, self.out)]
        except BlockingIOError:
            pass
        except OSError:
            self.disconnect()
        if not self.connected:
            self.out.clear()
        self.watch(1, selectors.EVENT_WRITE if self.out else 0, lambda: None)

    # -- durable steps ----------------------------------------------------------------------

    def start_durable(self, number: int, request: Dict[str, Any]) -> None:
        """Start a step unless one with its ID was ever started, and follow it.

        Making the folder is the claim: the runner that makes it, on any login node, starts it.
        """
        folder = step_folder(self.root, request["step_id"])
        supervisor = None
        try:
            make_root(self.root)
            if not self.removed_old:
                self.removed_old = True
                remove_old(self.root)
            if claim(folder):
                supervisor = self.assign(folder, request)
        except OSError as fault:
            self.send(EXIT, number, not_run(NOT_DURABLE, str(fault)))
            return
        self.readers[number] = reader = SpoolReader(number, folder, request["offsets"])
        if supervisor is not None:
            self.supervisors[supervisor] = reader
            reader.is_notified = True
        if request["end"]:
            reader.control(frame(END, 1))

    def assign(self, folder: str, request: Dict[str, Any]) -> Optional[HandoffSocket]:
        """Have a supervisor run the step; if it must not be started, leave a tombstone."""
        try:
            if not request["attach_only"]:
                return self.hand_off(folder, request)
            leave_tombstone(folder)
        except OSError:
            remove(folder)
            raise
        return None

    def hand_off(self, folder: str, request: Dict[str, Any]) -> HandoffSocket:
        """Give the step to an idle supervisor, else to a new one."""
        os.mkfifo(os.path.join(folder, CONTROL), 0o600)
        files = []
        try:
            # The supervisor holds both ends of the fifo, so that it never reads the end of file.
            files.append(os.open(os.path.join(folder, CONTROL), os.O_RDWR))
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            files.append(os.open(os.path.join(folder, SPOOL), flags, 0o600))
            os.write(files[1], frame(HELLO, 1, boot_identity()))
            content = json.dumps([folder, request]).encode()
            while self.idle and len(content) <= MAX_MESSAGE:
                supervisor = self.idle.pop()
                if supervisor.send_step(content, files):
                    return supervisor
                self.dismiss(supervisor)
            return self.fork_supervisor(folder, request, files)
        finally:
            for file in files:
                os.close(file)

    def fork_supervisor(
        self, folder: str, request: Dict[str, Any], files: List[int]
    ) -> HandoffSocket:
        """Fork a supervisor with its first step."""
        prctl()  # before the fork, so that all supervisors share its memory
        supervisor, theirs = socket_pair()
        with contextlib.closing(theirs):
            if os.fork() == 0:
                try:
                    os.setsid()
                    run_supervisor(self, folder, request, files, theirs)
                finally:
                    os._exit(1)
        self.supervisors[supervisor] = None
        self.watch(supervisor.file, selectors.EVENT_READ, lambda: self.on_notice(supervisor))
        return supervisor

    def on_notice(self, supervisor: HandoffSocket) -> None:
        """Handle a supervisor that has new output, became idle, or has ended."""
        if supervisor not in self.supervisors:
            return
        notice = supervisor.receive_notice()
        reader = self.supervisors[supervisor]
        if reader is not None and notice != IDLE:
            reader.next_wakeup = 0.0
        if notice == IDLE and len(self.idle) < MAX_IDLE:
            self.supervisors[supervisor] = None
            supervisor.idle_until = time.monotonic() + IDLE_TIMEOUT
            self.idle.append(supervisor)
        elif notice != NEW_OUTPUT:
            self.dismiss(supervisor)

    def dismiss(self, supervisor: HandoffSocket) -> None:
        """Close the socket to a supervisor, which ends once it has no step."""
        reader = self.supervisors.pop(supervisor)
        if reader is not None:
            reader.is_notified = False
        if supervisor in self.idle:
            self.idle.remove(supervisor)
        self.watch(supervisor.file, 0, lambda: None)
        supervisor.close()

    def follow(self, reader: SpoolReader) -> None:
        """Pass on what a supervisor has written since, as far as the window allows."""
        now = time.monotonic()
        silence = now - reader.last_frame_at
        reason = None
        if silence > MAX_SILENCE or not reader.origin:
            reason = reader.end_reason(silence)
        pause = MAX_POLL_INTERVAL if reader.is_notified else silence / 4
        reader.next_wakeup = now + min(max(pause, MIN_POLL_INTERVAL), MAX_POLL_INTERVAL)
        while len(self.out) <= MAX_BACKLOG:
            if not reader.unsent and not reader.read():
                if reason:
                    self.stop_following(reader, not_run(*reason))
                return
            reason = None
            reader.last_frame_at, reader.next_wakeup = now, now + MIN_POLL_INTERVAL
            kind, _, content = reader.unsent[0]
            if kind == EXIT:
                if content[:1] == bytes([NOT_STARTED]):
                    forget(reader.folder, False)
                self.stop_following(reader, content)
                return
            if kind in (STDOUT, STDERR):
                stream = 1 if kind == STDOUT else 2
                skipped = min(reader.skip[stream], len(content))
                if reader.window[stream] < len(content) - skipped:
                    reader.next_wakeup = NEVER
                    return
                reader.skip[stream] -= skipped
                if content[skipped:]:
                    reader.window[stream] -= len(content) - skipped
                    self.send(kind, reader.number, content[skipped:])
            del reader.unsent[0]

    def stop_following(self, reader: SpoolReader, content: bytes) -> None:
        """Send EXIT with this content, and close the spool."""
        self.send(EXIT, reader.number, content)
        reader.close()
        del self.readers[reader.number]


def main() -> None:
    """Serve; when that ends early, print the reason on the standard error."""
    runner = Runner(sys.argv[1])
    runner.serve()
    sys.exit(runner.fault or 0)
