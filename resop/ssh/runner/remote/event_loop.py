"""The event loop of the runner and of its supervisors: frames in and out, signals, wakeups."""

import contextlib
import os
import selectors
import signal
import struct
import time
from typing import Callable, List

from resop.ssh.runner.remote.protocol import Frames, frame

MAX_BACKLOG = 1 << 18
"""While more bytes wait to be sent, no more output is read."""
NEVER = float("inf")
MAX_SLEEP = 3600.0
"""The longest sleep in seconds: a supervisor touches its spool as often."""


class EventLoop:
    """Reads frames from file 0 and writes frames to file 1."""

    def __init__(self) -> None:
        self.frames = Frames()
        self.out = bytearray()
        self.backpressure = False
        """True while more than MAX_BACKLOG bytes wait: then no more output is read."""
        self.connected = True
        self.signals: List[int] = []
        """The signals received that end the process."""
        self.next_wakeup = NEVER
        self.fault = ""
        """The reason for ending early."""
        self.selector = selectors.DefaultSelector()
        self.wakeup_file, wake = os.pipe()
        for file in (0, 1, self.wakeup_file, wake):
            os.set_blocking(file, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda number, _: self.signals.append(number))
        self.watch(0, selectors.EVENT_READ, self.read_frames)
        self.watch(self.wakeup_file, selectors.EVENT_READ, self.on_signal)

    def poll_once(self, until: float = NEVER) -> None:
        """Send, sleep until there is something to do (or `until`), and do it."""
        self.flush()
        timeout = max(0.0, min(self.next_wakeup, until) - time.monotonic())
        for key, _ in self.selector.select(min(timeout, MAX_SLEEP)):
            key.data()
        self.on_wakeup()

    def watch(self, file: int, events: int, callback: Callable[[], None]) -> None:
        """Call `callback` when a file is ready; watch it no more when `events` is 0."""
        known = file in self.selector.get_map()
        if known and events:
            self.selector.modify(file, events, callback)
        elif events:
            self.selector.register(file, events, callback)
        elif known:
            self.selector.unregister(file)

    def disconnect(self, fault: str = "") -> None:
        """Read no more frames, and prepare to end."""
        self.fault = self.fault or fault
        if self.connected:
            self.connected = False
            self.next_wakeup = 0.0  # a failed write is noticed just before the sleep
            self.watch(0, 0, self.read_frames)
            self.on_disconnect()

    def read_frames(self) -> None:
        """Handle the frames that have arrived."""
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
                self.handle_frame(kind, number, content)
        except (ValueError, KeyError, TypeError, AttributeError, struct.error) as fault:
            self.disconnect(f"not understood: {type(fault).__name__}: {fault}")

    def send(self, kind: int, number: int, content: bytes = b"") -> None:
        """Send a frame with the next `flush`."""
        self.out += frame(kind, number, content)

    def flush(self) -> None:
        """Write what can be written, and set or lift the backpressure."""
        self.write_out()
        if self.backpressure != (len(self.out) > MAX_BACKLOG):
            self.backpressure = not self.backpressure
            self.on_backpressure()

    def on_signal(self) -> None:
        """Drain the wakeup pipe, and disconnect if a signal asked to end."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.wakeup_file, 512):
                pass
        if self.signals:
            self.disconnect("a signal ended it")

    def handle_frame(self, kind: int, number: int, content: bytes) -> None:
        """Do what a frame asks for."""
        raise NotImplementedError

    def write_out(self) -> None:
        """Write as much of `out` as possible."""
        raise NotImplementedError

    def on_wakeup(self) -> None:
        """Do what is due."""
        raise NotImplementedError

    def on_disconnect(self) -> None:
        """End what runs."""
        raise NotImplementedError

    def on_backpressure(self) -> None:
        """Read output again, or no more."""
        raise NotImplementedError
