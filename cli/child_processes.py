"""Child processes of `resop up`: start them, wait for them, restart them, stop them in order."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from resop.errors import SetupError

PR_SET_PDEATHSIG = 1  # prctl(2)
STOP_SECONDS = 5.0
POLL_SECONDS = 0.05
LOG_BYTES = 65_536
"""How much of the log's end is searched for the cause of an end."""

_OWN_LINE = re.compile(r"^resop(?: [a-z ]+)?: (.+)$", re.MULTILINE)
_OWN_MESSAGE = re.compile(rf"{_OWN_LINE.pattern}(?:\n{_OWN_LINE.pattern})*", re.MULTILINE)
_LOG_LINE = re.compile(r"[\d{]|$")
"""A line of the log proper begins with its time or, as JSON, with '{'."""


@dataclass(slots=True)
class ChildProcess:
    """A child process whose standard error goes to the log that all children share."""

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]
    process: subprocess.Popen[str]
    log: Path
    log_offset: int
    """The size of the log in bytes when the child started."""
    stop_seconds: float = STOP_SECONDS
    """How long the child may take to stop after SIGTERM."""

    @property
    def ended(self) -> bool:
        """True once the process has ended."""
        return self.process.poll() is not None

    def restart(self) -> None:
        """Start a process that has ended again. Raises SetupError as `start` does."""
        again = start(self.name, self.command, self.environ, self.log)
        self.process, self.log_offset = again.process, again.log_offset

    def stop(self) -> None:
        """Send SIGTERM; after `stop_seconds`, SIGKILL."""
        if self.ended:
            return
        self.process.terminate()
        try:
            self.process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(
    name: str,
    command: Sequence[str],
    environ: Mapping[str, str],
    log: Path,
    *,
    stdout: int | None = None,
) -> ChildProcess:
    """Start a child in its own session, so that Ctrl-C reaches the supervisor only.

    Raises SetupError when the program does not exist or the log cannot be written.
    """
    try:
        stream: IO[str] = log.open("a")
    except OSError as fault:
        raise SetupError(f"{log} cannot be written: {fault.strerror}") from None
    with stream:
        log_offset = stream.tell()
        try:
            process = subprocess.Popen(
                command,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=stream if stdout is None else stdout,
                stderr=stream,
                text=True,
                start_new_session=True,
                preexec_fn=_die_with_parent() if sys.platform == "linux" else None,
            )
        except OSError as fault:
            raise SetupError(f"{name} does not start: {fault}") from None
    return ChildProcess(name, command, environ, process, log, log_offset)


def start_python(
    name: str,
    module: str,
    environ: Mapping[str, str],
    log: Path,
    *arguments: str,
    stdout: int | None = None,
) -> ChildProcess:
    """Start a module of ours in a child; a folder of its name where we run counts for nothing."""
    return start(
        name, [sys.executable, "-P", "-m", module, *arguments], environ, log, stdout=stdout
    )


def wait_until(ready: Callable[[], bool], children: Sequence[ChildProcess], seconds: float) -> None:
    """Wait until `ready`. Raises SetupError when a child ends before, or the time is up."""
    deadline = time.monotonic() + seconds
    while not ready():
        raise_if_ended(children)
        if time.monotonic() > deadline:
            names = " and ".join(child.name for child in children)
            raise SetupError(f"{names} did not get ready within {seconds:g} s")
        time.sleep(POLL_SECONDS)


def raise_if_ended(children: Sequence[ChildProcess]) -> None:
    """Raise SetupError with the cause when a child has ended."""
    for child in children:
        if child.ended:
            raise SetupError(cause_of_end(child, min(each.log_offset for each in children)))


def cause_of_end(child: ChildProcess, since: int | None = None) -> str:
    """Say why a child ended: by its own message, else by its exit code and last line.

    The first message in the log since an offset counts, by default since the child's start,
    whichever child wrote it: a fault in the settings ends several children at once.
    """
    with child.log.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(child.log_offset if since is None else since, size - LOG_BYTES))
        text = stream.read().decode("utf-8", "replace")
    if message := _OWN_MESSAGE.search(text):
        return "\n".join(dict.fromkeys(_OWN_LINE.findall(message[0])))
    code = child.process.returncode
    if code < 0:
        return f"{child.name} was ended by {signal.Signals(-code).name} (log: {child.log})"
    lines = [line for line in text.splitlines() if not _LOG_LINE.match(line)]
    last = f": {lines[-1].strip()}" if lines else ""
    return f"{child.name} ended with exit code {code}{last} (log: {child.log})"


def _die_with_parent() -> Callable[[], None]:
    # Load libc before the fork: between fork and exec nothing may take a lock.
    prctl = ctypes.CDLL(None).prctl

    def die_with_parent() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    return die_with_parent
