"""Runs on the login node: starts steps for the service, or has keepers run those that survive.

It is fed to the node's own python3 with the modules beside it (3.6 or later, standard library
only; nothing is written to disk but the output of steps that are to survive). docs/runner.md
describes the protocol.
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

from resop.ssh.runner.remote.event_loop import BACKLOG, NEVER, Engine
from resop.ssh.runner.remote.processes import here, prctl
from resop.ssh.runner.remote.protocol import (
    END,
    ERRORS,
    EXIT,
    FORGET,
    FORGET_FIELDS,
    HELLO,
    HELLO_FIELDS,
    INPUT,
    INPUT_END,
    NOT_KEPT,
    NOT_STARTED,
    ON_REQUEST,
    OUTPUT,
    ROOM,
    ROOM_FIELDS,
    START,
    VERSION,
    frame,
    not_run,
)
from resop.ssh.runner.remote.spool import (
    CONTROL,
    KEPT,
    POLL_SECONDS,
    SPOOL,
    Kept,
    folder_of,
    forget,
    leave_name,
    made,
    make_room,
    remove,
    remove_old,
)
from resop.ssh.runner.remote.supervisor import HANDED_BYTES, NEWS, SPARE, Line, become, joined

AT_ONCE = 400
SILENT_SECONDS = 1.0
SPARE_SECONDS, SPARE_AT_MOST = 10.0, 32
"""So long a keeper that has nothing to do is held for another step, and so many of them."""


class Runner(Engine):
    """All steps of one channel of a connection."""

    def __init__(self, mark: str) -> None:
        super().__init__(mark)
        self.kept_in = os.path.join(pwd.getpwuid(os.getuid()).pw_dir, KEPT)
        self.swept = False
        self.followed: Dict[int, Kept] = {}
        """Steps that keepers run."""
        self.lines: Dict[Line, Optional[Kept]] = {}
        """To the keepers that it has forked, and the step that each was given last."""
        self.spare: List[Line] = []
        """To those that have nothing to do; the longest so first."""

    def serve(self) -> None:
        """Until the connection is gone, and then until all that runs has ended."""
        quiet = self.shell_name in ("dash", "sh") or self.reads_no_rc
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        at_once = AT_ONCE if files < 0 else max(1, min(AT_ONCE, (files - 64) // 3))
        self.send(HELLO, 0, HELLO_FIELDS.pack(VERSION, at_once, not quiet))
        while self.connected or self.steps:
            self.turn()

    def turn(self, until: float = NEVER) -> None:
        """Do what is to be done, also for the steps that keepers run."""
        looks = [each.look_at for each in self.followed.values()]
        looks += [each.spare_until for each in self.spare[:1]]
        super().turn(min([until, *looks]))
        now = time.monotonic()
        for kept in list(self.followed.values()):
            if now >= kept.look_at:
                self.follow(kept)
        while self.spare and now >= self.spare[0].spare_until:
            self.dismiss(self.spare[0])

    def disconnect(self, fault: str = "") -> None:
        """End all steps but those of keepers, and then itself."""
        self.followed.clear()
        for line in list(self.lines):
            self.dismiss(line)
        super().disconnect(fault)

    def take(self, kind: int, number: int, content: bytes) -> None:
        """What one frame asks for; those for a step that has just ended mean nothing."""
        if kind == START:
            request = json.loads(content.decode())
            if request.get("keep"):
                self.keep(number, request)
            else:
                self.start(number, request)
        elif kind == FORGET:
            size = FORGET_FIELDS.size
            folder = folder_of(self.kept_in, content[size:].decode())
            forget(folder, *FORGET_FIELDS.unpack(content[:size]))
        elif kind not in (INPUT, INPUT_END, ROOM, END):
            raise ValueError(f"a frame of type {kind}")
        elif number in self.followed:
            kept = self.followed[number]
            if kind == END:
                kept.tell(frame(END, 1))
            elif kind == ROOM:
                stream, size = ROOM_FIELDS.unpack(content)
                kept.room[stream] += size
                kept.look_at = 0.0
        elif number in self.steps:
            step = self.steps[number]
            if kind == END:
                self.end(step, ON_REQUEST)
            elif kind == ROOM:
                stream, size = ROOM_FIELDS.unpack(content)
                step.room[stream] += size
                self.watch_output(step, stream)
            else:
                step.input += content
                step.input_ends = kind == INPUT_END
                self.write_input(step)

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

    # -- steps that survive -----------------------------------------------------------------

    def keep(self, number: int, request: Dict[str, Any]) -> None:
        """Start a step of this name unless it was ever started, and follow it.

        To make its folder is the claim: whoever does it, on whichever login node, starts it.
        """
        folder = folder_of(self.kept_in, request["keep"])
        line = None
        try:
            make_room(self.kept_in)
            if not self.swept:
                self.swept = True
                remove_old(self.kept_in)
            if made(folder):
                line = self.claim(folder, request)
        except OSError as fault:
            self.send(EXIT, number, not_run(NOT_KEPT, str(fault)))
            return
        self.followed[number] = kept = Kept(number, folder, request["have"])
        if line is not None:
            self.lines[line] = kept
            kept.brings_news = True
        if request["end"]:
            kept.tell(frame(END, 1))

    def claim(self, folder: str, request: Dict[str, Any]) -> Optional[Line]:
        """Have a keeper run the step, and return the line to it; or see to it that none does."""
        try:
            if not request["find"]:
                return self.hand_over(folder, request)
            leave_name(folder)
        except OSError:
            remove(folder)
            raise
        return None

    def hand_over(self, folder: str, request: Dict[str, Any]) -> Line:
        """Give the step to a keeper that has nothing to do, else to a new one."""
        os.mkfifo(os.path.join(folder, CONTROL), 0o600)
        files = []
        try:
            # Its keeper holds both ends, so that it never sees the end of what it is told.
            files.append(os.open(os.path.join(folder, CONTROL), os.O_RDWR))
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            files.append(os.open(os.path.join(folder, SPOOL), flags, 0o600))
            os.write(files[1], frame(HELLO, 1, here()))
            content = json.dumps([folder, request]).encode()
            while self.spare and len(content) <= HANDED_BYTES:
                line = self.spare.pop()
                if line.hand(content, files):
                    return line
                self.dismiss(line)
            return self.fork_keeper(folder, request, files)
        finally:
            for file in files:
                os.close(file)

    def fork_keeper(self, folder: str, request: Dict[str, Any], files: List[int]) -> Line:
        prctl()  # so that all keepers share what it takes
        line, theirs = joined()
        with contextlib.closing(theirs):
            if os.fork() == 0:
                try:
                    os.setsid()
                    become(self, folder, request, files, theirs)
                finally:
                    os._exit(1)
        self.lines[line] = None
        self.watch(line.file, selectors.EVENT_READ, lambda: self.hear(line))
        return line

    def hear(self, line: Line) -> None:
        """There is news of a step, or its keeper has nothing to do any more, or has ended."""
        if line not in self.lines:
            return
        said = line.heard()
        kept = self.lines[line]
        if kept is not None and said != SPARE:
            kept.look_at = 0.0
        if said == SPARE and len(self.spare) < SPARE_AT_MOST:
            self.lines[line] = None
            line.spare_until = time.monotonic() + SPARE_SECONDS
            self.spare.append(line)
        elif said != NEWS:
            self.dismiss(line)

    def dismiss(self, line: Line) -> None:
        """Leave a keeper alone: it ends when it has nothing to do."""
        kept = self.lines.pop(line)
        if kept is not None:
            kept.brings_news = False
        if line in self.spare:
            self.spare.remove(line)
        self.watch(line.file, 0, lambda: None)
        line.close()

    def follow(self, kept: Kept) -> None:
        """Pass on what a keeper has written since, as far as there is room for it."""
        now = time.monotonic()
        silent = now - kept.news_at
        gone = None
        if silent > SILENT_SECONDS or not kept.origin:
            gone = kept.is_gone(silent)
        pause = POLL_SECONDS[1] if kept.brings_news else silent / 4
        kept.look_at = now + min(max(pause, POLL_SECONDS[0]), POLL_SECONDS[1])
        while len(self.out) <= BACKLOG:
            if not kept.waiting and not kept.read():
                if gone:
                    self.leave(kept, not_run(*gone))
                return
            gone = None
            kept.news_at, kept.look_at = now, now + POLL_SECONDS[0]
            kind, _, content = kept.waiting[0]
            if kind == EXIT:
                if content[:1] == bytes([NOT_STARTED]):
                    forget(kept.folder, False)
                self.leave(kept, content)
                return
            if kind in (OUTPUT, ERRORS):
                stream = 1 if kind == OUTPUT else 2
                known = min(kept.have[stream], len(content))
                if kept.room[stream] < len(content) - known:
                    kept.look_at = NEVER
                    return
                kept.have[stream] -= known
                if content[known:]:
                    kept.room[stream] -= len(content) - known
                    self.send(kind, kept.number, content[known:])
            del kept.waiting[0]

    def leave(self, kept: Kept, content: bytes) -> None:
        self.send(EXIT, kept.number, content)
        kept.close()
        del self.followed[kept.number]


def main() -> None:
    """Serve, and say on the standard error why when that ends early."""
    runner = Runner(sys.argv[1])
    runner.serve()
    sys.exit(runner.fault or 0)
