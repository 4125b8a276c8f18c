"""Runs steps on the login node: passes on their streams, ends them with all that they started."""

import binascii
import contextlib
import os
import pwd
import selectors
import signal
import struct
import subprocess
import time
import zlib
from typing import Any, Callable, Dict, List, Optional

from resop.ssh.runner.remote.child import MARK, Step
from resop.ssh.runner.remote.processes import HAVE_PROC, exit_code, login_environ, spawn
from resop.ssh.runner.remote.protocol import (
    AT_LIMIT,
    CHUNK,
    ENDED_ITSELF,
    EXIT,
    EXIT_FIELDS,
    NOT_STARTED,
    ON_REQUEST,
    ROOM,
    ROOM_FIELDS,
    STREAMS,
    WINDOW,
    Frames,
    frame,
    not_run,
)

BACKLOG = 1 << 18
"""While so much waits to be sent, no more output is read."""
FUNCTIONS = b"RESOP_FUNCTIONS"
VARIABLE_BYTES = 100000
"""Linux limits a variable to 128 KiB."""
NEVER = float("inf")
LONGEST_TICK_SECONDS = 2.0
TOUCH_SECONDS = 3600.0
"""The longest wait for anything to be done: a keeper touches its spool as often."""
KILL_SECONDS = 2.0
"""What KILL has not ended by then waits for a device or is not the user's."""


class Engine:
    """Steps that run: what it is told arrives on file 0, what it has to say leaves on file 1."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.steps: Dict[int, Step] = {}
        self.frames = Frames()
        self.out = bytearray()
        self.crowded = False
        self.connected = True
        self.told_to_end: List[int] = []
        self.look_at = NEVER
        self.fault = ""
        self.childless = False
        self.selector = selectors.DefaultSelector()
        self.null = os.open(os.devnull, os.O_RDWR)
        self.shell = pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh"
        self.shell_name = os.path.basename(self.shell)
        self.environ = login_environ()
        self.functions = _unpacked(self.environ.pop(FUNCTIONS, b""))
        """Those of bash; None when they are not known."""
        self.woken, wake = os.pipe()
        for file in (0, 1, self.woken, wake):
            os.set_blocking(file, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda number, _: self.told_to_end.append(number))
        self.watch(0, selectors.EVENT_READ, self.read_frames)
        self.watch(self.woken, selectors.EVENT_READ, self.wake)

    def turn(self, until: float = NEVER) -> None:
        """Send, wait until something is to be done, at the latest `until`, and do it."""
        self.flush()
        patience = max(0.0, min(self.look_at, until) - time.monotonic())
        for key, _ in self.selector.select(min(patience, TOUCH_SECONDS)):
            key.data()
        self.look_after_time()

    @property
    def reads_no_rc(self) -> bool:
        """Whether the shell is a bash that need not read its rc file again."""
        return self.shell_name == "bash" and self.functions is not None

    def watch(self, file: int, events: int, work: Callable[[], None]) -> None:
        """Do `work` when a file is ready; no more when `events` is 0."""
        known = file in self.selector.get_map()
        if known and events:
            self.selector.modify(file, events, work)
        elif events:
            self.selector.register(file, events, work)
        elif known:
            self.selector.unregister(file)

    def disconnect(self, fault: str = "") -> None:
        """End all steps, and then itself."""
        self.fault = self.fault or fault
        if self.connected:
            self.connected = False
            self.watch(0, 0, self.read_frames)
            for step in list(self.steps.values()):
                self.end(step, ON_REQUEST)

    # -- frames -----------------------------------------------------------------------------

    def read_frames(self) -> None:
        try:
            data = os.read(0, 1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.disconnect()
        try:
            for kind, number, content in self.frames.feed(data):
                self.take(kind, number, content)
        except (ValueError, KeyError, TypeError, AttributeError, struct.error) as fault:
            self.disconnect(f"not understood: {type(fault).__name__}: {fault}")

    def take(self, kind: int, number: int, content: bytes) -> None:
        """What one frame asks for."""
        raise NotImplementedError

    def send(self, kind: int, number: int, content: bytes = b"") -> None:
        self.out += frame(kind, number, content)

    def flush(self) -> None:
        """Send what can be sent; while too much is left, no more output is read."""
        self.write_out()
        if self.crowded != (len(self.out) > BACKLOG):
            self.crowded = not self.crowded
            for step in self.steps.values():
                for stream in (1, 2):
                    self.watch_output(step, stream)

    def write_out(self) -> None:
        """Let what is in `out` leave, as far as that can be."""
        raise NotImplementedError

    # -- steps ------------------------------------------------------------------------------

    def start(self, number: int, request: Dict[str, Any]) -> None:
        step = Step(number, request, f"{self.mark}-{number}")
        theirs = []
        try:
            for stream in (0, 1, 2) if request["input"] else (1, 2):
                ends = os.pipe()
                step.pipes[stream] = ends[stream == 0]
                theirs.append(ends[stream != 0])
                os.set_blocking(step.pipes[stream], False)
            given = theirs if request["input"] else [self.null, *theirs]
            step.pid = self.spawn(request, step.mark, given)
        except (OSError, subprocess.SubprocessError) as fault:
            for file in step.pipes.values():
                os.close(file)
            self.send(EXIT, number, not_run(NOT_STARTED, str(fault)))
            return
        finally:
            for file in theirs:
                os.close(file)
        self.steps[number] = step
        self.look_at = min(self.look_at, step.deadline)
        for stream in (1, 2):
            self.watch_output(step, stream)

    def spawn(self, request: Dict[str, Any], mark: str, files: List[int]) -> int:
        """Start the program itself where one is named, else a line in the login shell."""
        environ = dict(self.environ)
        environ[MARK.encode()] = mark.encode()
        program = request.get("program")
        if program:
            asked = {k.encode(): v.encode() for k, v in program["env"].items()}
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                argv = [word.encode() for word in program["argv"]]
                return spawn(argv, None, program["cwd"], {**environ, **asked}, files)
            # The shell says what is wrong with it, in the words that the user knows.
        argv = [self.shell_name.encode(), b"-c", request["line"].encode()]
        if self.reads_no_rc:
            # Its rc file was read when this program was started. Functions that were made there
            # and not exported are known all the same.
            argv.insert(1, b"--norc")
            argv[-1] = self.define_functions(environ) + argv[-1]
        return spawn(argv, self.shell, None, environ, files)

    def define_functions(self, environ: Dict[bytes, bytes]) -> bytes:
        """What defines them at the beginning of a line, from variables of `environ`."""
        text, names = self.functions or b"", []
        for at in range(0, len(text), VARIABLE_BYTES):
            names.append(b"%s%d" % (FUNCTIONS, at))
            environ[names[-1]] = text[at : at + VARIABLE_BYTES]
        if not names:
            return b""
        return b'eval "$%s"; unset %s; ' % (b"$".join(names), b" ".join(names))

    def watch_output(self, step: Step, stream: int) -> None:
        """Read a stream of a step, or leave it alone until there is room."""
        if stream in step.pipes:
            room = step.room[stream] > 0 or not step.step_id[stream]
            events = selectors.EVENT_READ if room and not self.crowded else 0
            self.watch(step.pipes[stream], events, lambda: self.read_output(step, stream))

    def read_output(self, step: Step, stream: int) -> None:
        if stream not in step.pipes:
            return
        keep = step.step_id[stream]
        try:
            data = os.read(step.pipes[stream], min(CHUNK, step.room[stream]) if keep else CHUNK)
        except BlockingIOError:
            return
        if not data:
            self.close(step, stream)
            self.finish(step)
            return
        step.dropped = step.dropped or len(data) > keep
        kept = data[:keep]
        if kept:
            self.send(STREAMS[stream], step.number, kept)
            step.step_id[stream] -= len(kept)
            step.room[stream] -= len(kept)
            if step.room[stream] <= 0:
                self.watch_output(step, stream)

    def write_input(self, step: Step) -> None:
        if 0 not in step.pipes:
            step.input.clear()
            return
        written = 0
        try:
            while step.input:
                size = os.write(step.pipes[0], step.input[:CHUNK])
                del step.input[:size]
                written += size
        except BlockingIOError:
            pass
        except OSError:  # it reads no more; what is left is of no use to anybody
            step.input.clear()
            step.input_ends = True
        step.consumed += written
        if step.consumed >= WINDOW // 2:
            self.send(ROOM, step.number, ROOM_FIELDS.pack(0, step.consumed))
            step.consumed = 0
        if step.input_ends and not step.input:
            self.close(step, 0)
        else:
            events = selectors.EVENT_WRITE if step.input else 0
            self.watch(step.pipes[0], events, lambda: self.write_input(step))

    def close(self, step: Step, stream: int) -> None:
        file = step.pipes.pop(stream)
        self.watch(file, 0, lambda: None)
        os.close(file)

    def wake(self) -> None:
        """A signal arrived: see which steps have ended."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.woken, 512):
                pass
        if self.told_to_end:
            self.disconnect("it was told to end")
        by_pid = {step.pid: step for step in self.steps.values()}
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid in by_pid:
                    step = by_pid[pid]
                    step.exit_code = exit_code(status)
                    self.finish(step)
        except ChildProcessError:
            self.childless = True
            self.look_at = 0.0

    def finish(self, step: Step) -> None:
        """Done once its first process has ended and nobody holds its output any more."""
        if step.how != ENDED_ITSELF:
            if not step.adopts:
                self.look_at = 0.0
        elif step.exit_code is not None and not step.pipes.keys() & {1, 2}:
            self.tell_end(step, True)

    def tell_end(self, step: Step, gone: bool) -> None:
        for stream in list(step.pipes):
            self.close(step, stream)
        code = step.exit_code or 0
        self.send(EXIT, step.number, EXIT_FIELDS.pack(step.how, code, step.dropped, gone))
        del self.steps[step.number]

    # -- ending -----------------------------------------------------------------------------

    def end(self, step: Step, how: int) -> None:
        """TERM, and KILL after the grace time; look_after_time does the rest."""
        if step.how == ENDED_ITSELF:
            step.how = how
            now = time.monotonic()
            step.deadline = now + step.grace
            if step.adopts:
                step.signal_group(signal.SIGTERM)  # to look for others may not be needed
            else:
                step.signal(signal.SIGTERM)
            self.look_at = min(self.look_at, now + step.tick)

    def look_after_time(self) -> None:
        now = time.monotonic()
        if now < self.look_at:
            return
        for step in list(self.steps.values()):
            if step.how == ENDED_ITSELF:
                if now >= step.deadline:
                    self.end(step, AT_LIMIT)
                continue
            if step.adopts and self.childless and step.exit_code is not None:
                self.tell_end(step, True)
                continue
            killing = now >= step.deadline
            if killing:
                step.signalled.clear()
                step.group_told = False
            left = step.signal(signal.SIGKILL if killing else signal.SIGTERM)
            if not left and step.exit_code is not None:
                self.tell_end(step, HAVE_PROC)
            elif now >= step.deadline + KILL_SECONDS:
                self.tell_end(step, False)
        looks = [step.deadline for step in self.steps.values() if step.deadline > now]
        for step in self.steps.values():
            if step.how != ENDED_ITSELF:
                looks.append(now + step.tick)
                if step.adopts:
                    step.tick = min(2 * step.tick, LONGEST_TICK_SECONDS)
        self.look_at = min(looks, default=NEVER)


def _unpacked(text: bytes) -> Optional[bytes]:
    """What went through gzip and base64."""
    try:
        return zlib.decompress(binascii.a2b_base64(text), 31)
    except (ValueError, zlib.error):
        return None
