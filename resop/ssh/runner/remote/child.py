"""One step that runs as a child process: its streams, its limits, its process tree."""

import contextlib
import os
import signal
import time
from typing import Any, Dict, List, Optional, Set

from resop.ssh.runner.remote.processes import HAVE_PROC, status
from resop.ssh.runner.remote.protocol import EXITED, WINDOW_SIZE

STEP_VARIABLE = "RESOP_STEP"
OWN_JOB = [b"SLURM_JOB_ID=" + os.environb.get(b"SLURM_JOB_ID", b"")]
SEARCH_INTERVAL = 0.05


class Child:
    """One step that runs."""

    def __init__(self, number: int, request: Dict[str, Any], tree: "ProcessTree") -> None:
        self.number = number
        self.tree = tree
        self.exit_code: Optional[int] = None
        self.pipes: Dict[int, int] = {}
        self.stdin = Stdin()
        self.window = {1: WINDOW_SIZE, 2: WINDOW_SIZE}
        self.remaining = {1: request["max_output"], 2: request["max_output"]}
        """Bytes of each stream that are still passed on; the others are dropped."""
        self.truncated = False
        self.deadline = time.monotonic() + request["limit"]
        """When it is ended; while it is being ended, when it is killed."""
        self.grace = request["grace"]
        self.how = EXITED
        self.search_interval = SEARCH_INTERVAL
        """Seconds between two searches for processes that are left, while it is being ended."""


class Stdin:
    """Standard input on its way to a child."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.at_eof = False
        """True if nothing comes after the buffer."""
        self.consumed = 0
        """Bytes that no WINDOW_ADJUST has returned to the service yet."""

    def write(self, file: int, chunk: int) -> None:
        """Write what `file` accepts, in chunks; drop everything when nobody reads any more."""
        try:
            while self.buffer:
                size = os.write(file, self.buffer[:chunk])
                del self.buffer[:size]
                self.consumed += size
        except BlockingIOError:
            pass
        except OSError:
            self.buffer.clear()
            self.at_eof = True


class ProcessTree:
    """All processes of a step."""

    def __init__(self, mark: str) -> None:
        """`mark` is the value of RESOP_STEP in their environment."""
        self.mark = mark
        self.pid = 0
        """The first process, and so the number of its process group and its session."""
        self.is_subreaper = False
        """True if orphans of the tree become our children, and no other step's do."""
        self.group_signalled = False
        self.signalled: Set[int] = set()

    def members(self) -> List[int]:
        """List the processes of the session, our orphans, and the user's that carry the mark."""
        if not HAVE_PROC:
            with contextlib.suppress(OSError):
                os.killpg(self.pid, 0)
                return [self.pid]
            return []
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError):  # it has ended meanwhile
                    if self._has(int(name)) and status(name)[0] not in "ZX":
                        found.append(int(name))
        return found

    def _has(self, pid: int) -> bool:
        if os.getsid(pid) == self.pid:
            return True
        if self.is_subreaper and int(status(str(pid))[1]) == os.getpid():
            return True
        if os.stat(f"/proc/{pid}").st_uid != os.getuid():
            return False
        with open(f"/proc/{pid}/environ", "rb") as file:
            entries = file.read().split(b"\0")
        # A job that the step submitted belongs to Slurm, should it run on this machine, too.
        jobs = [entry for entry in entries if entry.startswith(b"SLURM_JOB_ID=")]
        return f"{STEP_VARIABLE}={self.mark}".encode() in entries and jobs in ([], OWN_JOB)

    def signal_group(self, number: int, alive: bool) -> None:
        """Signal the process group: all at once, before one of them can start another.

        `alive`: the first process has not been reaped. Later the number may be another group's.
        """
        if not self.group_signalled and (alive or not HAVE_PROC):
            self.group_signalled = True
            with contextlib.suppress(OSError):
                os.killpg(self.pid, number)
                os.killpg(self.pid, signal.SIGCONT)

    def signal(self, number: int, alive: bool) -> bool:
        """Signal the processes that had no signal yet; return whether there are any processes."""
        self.signal_group(number, alive)
        group = self.pid if self.group_signalled and not self.signalled else None
        members = self.members()
        for pid in set(members) - self.signalled:
            with contextlib.suppress(OSError):
                if os.getpgid(pid) != group:
                    os.kill(pid, number)
                    os.kill(pid, signal.SIGCONT)
        self.signalled.update(members)
        return bool(members)
