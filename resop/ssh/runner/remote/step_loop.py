"""Run steps as child processes: pass on their streams, end them with all that they started."""

import os
import selectors
import signal
import subprocess
import time
from typing import Any, Dict

from resop.ssh.runner.remote.child import Child, ProcessTree
from resop.ssh.runner.remote.event_loop import NEVER, EventLoop
from resop.ssh.runner.remote.processes import HAVE_PROC, exit_code
from resop.ssh.runner.remote.protocol import (
    CHUNK,
    ENDED,
    EXIT,
    EXIT_FIELDS,
    EXITED,
    KILL_TIMEOUT,
    NOT_STARTED,
    STREAM_FRAMES,
    TIMED_OUT,
    WINDOW_ADJUST,
    WINDOW_ADJUST_FIELDS,
    WINDOW_SIZE,
    not_run,
)
from resop.ssh.runner.remote.shell import LoginShell

MAX_SEARCH_INTERVAL = 2.0


class StepLoop(EventLoop):
    """An event loop that runs steps."""

    def __init__(self, mark: str, shell: LoginShell) -> None:
        super().__init__()
        self.mark = mark
        self.children: Dict[int, Child] = {}
        self.childless = False
        """True if there was no child process when one was last waited for."""
        self.shell = shell

    def start(self, number: int, request: Dict[str, Any]) -> None:
        """Start a step, or send EXIT with NOT_STARTED."""
        child = Child(number, request, ProcessTree(f"{self.mark}-{number}"))
        theirs = []
        try:
            for stream in (0, 1, 2) if request["input"] else (1, 2):
                ends = os.pipe()
                child.pipes[stream] = ends[stream == 0]
                theirs.append(ends[stream != 0])
                os.set_blocking(child.pipes[stream], False)
            child.tree.pid = self.shell.spawn(request, child.tree.mark, theirs)
        except (OSError, ValueError, subprocess.SubprocessError) as fault:
            for file in child.pipes.values():
                os.close(file)
            error = min(getattr(fault, "errno", None) or 0, 255)
            self.send(EXIT, number, not_run(NOT_STARTED, str(fault), error))
            return
        finally:
            for file in theirs:
                os.close(file)
        self.children[number] = child
        self.next_wakeup = min(self.next_wakeup, child.deadline)
        for stream in (1, 2):
            self.watch_output(child, stream)

    # -- streams ----------------------------------------------------------------------------

    def watch_output(self, child: Child, stream: int) -> None:
        """Read a stream of a step, unless the window or the backpressure forbids it."""
        if stream in child.pipes:
            open_ = child.window[stream] > 0 or not child.remaining[stream]
            events = selectors.EVENT_READ if open_ and not self.backpressure else 0
            self.watch(child.pipes[stream], events, lambda: self.read_output(child, stream))

    def on_backpressure(self) -> None:
        for child in self.children.values():
            for stream in (1, 2):
                self.watch_output(child, stream)

    def read_output(self, child: Child, stream: int) -> None:
        """Pass on a chunk of a stream; drop what exceeds the step's limit."""
        if stream not in child.pipes:
            return
        remaining = child.remaining[stream]
        size = min(CHUNK, child.window[stream]) if remaining else CHUNK
        try:
            data = os.read(child.pipes[stream], size)
        except BlockingIOError:
            return
        if not data:
            self.close_stream(child, stream)
            self.finish(child)
            return
        child.truncated = child.truncated or len(data) > remaining
        data = data[:remaining]
        if data:
            self.send(STREAM_FRAMES[stream], child.number, data)
            child.remaining[stream] -= len(data)
            child.window[stream] -= len(data)
            if child.window[stream] <= 0:
                self.watch_output(child, stream)

    def write_stdin(self, child: Child) -> None:
        """Write the standard input that has arrived, as far as the step reads it."""
        stdin = child.stdin
        if 0 not in child.pipes:
            stdin.buffer.clear()
            return
        stdin.write(child.pipes[0], CHUNK)
        if stdin.consumed >= WINDOW_SIZE // 2:
            adjustment = WINDOW_ADJUST_FIELDS.pack(0, stdin.consumed)
            self.send(WINDOW_ADJUST, child.number, adjustment)
            stdin.consumed = 0
        if stdin.at_eof and not stdin.buffer:
            self.close_stream(child, 0)
        else:
            events = selectors.EVENT_WRITE if stdin.buffer else 0
            self.watch(child.pipes[0], events, lambda: self.write_stdin(child))

    def close_stream(self, child: Child, stream: int) -> None:
        """Close our end of a stream."""
        file = child.pipes.pop(stream)
        self.watch(file, 0, lambda: None)
        os.close(file)

    # -- the end ----------------------------------------------------------------------------

    def on_signal(self) -> None:
        """Reap the children that have ended."""
        super().on_signal()
        by_pid = {child.tree.pid: child for child in self.children.values()}
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid in by_pid:
                    child = by_pid[pid]
                    child.exit_code = exit_code(status)
                    self.finish(child)
        except ChildProcessError:
            self.childless = True
            self.next_wakeup = 0.0

    def finish(self, child: Child) -> None:
        """Send EXIT once the first process has ended and nobody holds its output any more."""
        if child.how != EXITED:
            if not child.tree.is_subreaper:
                self.next_wakeup = 0.0
        elif child.exit_code is not None and not child.pipes.keys() & {1, 2}:
            self.send_exit(child, True)

    def send_exit(self, child: Child, gone: bool) -> None:
        """Report the end of a step; `gone`: none of its processes is left."""
        for stream in list(child.pipes):
            self.close_stream(child, stream)
        code = child.exit_code or 0
        fields = EXIT_FIELDS.pack(child.how, code, child.truncated, gone)
        self.send(EXIT, child.number, fields)
        del self.children[child.number]

    def end(self, child: Child, how: int) -> None:
        """Send TERM; `on_wakeup` sends KILL after the grace time, and looks what is left."""
        if child.how == EXITED:
            child.how = how
            now = time.monotonic()
            child.deadline = now + child.grace
            alive = child.exit_code is None
            if child.tree.is_subreaper:
                child.tree.signal_group(signal.SIGTERM, alive)  # a search may not be needed
            else:
                child.tree.signal(signal.SIGTERM, alive)
            self.next_wakeup = min(self.next_wakeup, now + child.search_interval)

    def on_disconnect(self) -> None:
        for child in list(self.children.values()):
            self.end(child, ENDED)

    def on_wakeup(self) -> None:
        """End the steps whose time is over, and continue to end others."""
        now = time.monotonic()
        if now < self.next_wakeup:
            return
        for child in list(self.children.values()):
            if child.how != EXITED:
                self.end_further(child, now)
            elif now >= child.deadline:
                self.end(child, TIMED_OUT)
        wakeups = [child.deadline for child in self.children.values() if child.deadline > now]
        for child in self.children.values():
            if child.how != EXITED:
                wakeups.append(now + child.search_interval)
                if child.tree.is_subreaper:
                    child.search_interval = min(2 * child.search_interval, MAX_SEARCH_INTERVAL)
        self.next_wakeup = min(wakeups, default=NEVER)

    def end_further(self, child: Child, now: float) -> None:
        """Signal what is left of a step that is being ended; send EXIT when nothing is."""
        tree, alive = child.tree, child.exit_code is None
        if tree.is_subreaper and self.childless and not alive:
            self.send_exit(child, True)
            return
        killing = now >= child.deadline
        if killing:
            tree.signalled.clear()
            tree.group_signalled = False
        left = tree.signal(signal.SIGKILL if killing else signal.SIGTERM, alive)
        if not left and not alive:
            self.send_exit(child, HAVE_PROC)
        elif now >= child.deadline + KILL_TIMEOUT:
            self.send_exit(child, False)
