"""Child processes of the supervisor: started with it, stopped in order, never left behind."""

from __future__ import annotations

import ctypes
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


@dataclass(slots=True)
class Child:
    """One process of ours."""

    name: str
    process: subprocess.Popen[str]
    log: Path
    """Where its log goes, with that of the others."""

    @property
    def ended(self) -> bool:
        """Whether it is gone."""
        return self.process.poll() is not None

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Ask it to end; after `seconds` end it."""
        if self.ended:
            return
        self.process.terminate()
        try:
            self.process.wait(seconds)
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
) -> Child:
    """Start a child in a session of its own, so that Ctrl-C reaches the supervisor alone.

    Raises SetupError when the program is not there.
    """
    try:
        stream: IO[str] = log.open("a")
    except OSError as fault:
        raise SetupError(f"{log} cannot be written: {fault.strerror}") from None
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
    finally:
        stream.close()
    return Child(name, process, log)


def wait_until(ready: Callable[[], bool], child: Child, seconds: float) -> None:
    """Wait until `ready`; SetupError when the child ends before, or time is over."""
    deadline = time.monotonic() + seconds
    while not ready():
        if child.ended:
            raise ended_early(child)
        if time.monotonic() > deadline:
            raise SetupError(f"{child.name} is not ready after {seconds:g} s")
        time.sleep(0.05)


def ended_early(child: Child) -> SetupError:
    """The error that tells what a child said last."""
    said = child.log.read_text(errors="replace").strip().splitlines()
    reason = said[-1] if said else "it said nothing"
    return SetupError(f"{child.name} has ended: {reason} (more in {child.log})")


def _die_with_parent() -> Callable[[], None]:
    # Loaded before the fork: between fork and exec nothing may take a lock.
    prctl = ctypes.CDLL(None).prctl

    def die_with_parent() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    return die_with_parent
