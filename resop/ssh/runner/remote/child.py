"""One command that runs on the login node."""

import contextlib
import os
import signal
import time
from typing import Any, Dict, List, Optional, Set

from resop.ssh.runner.remote.processes import HAVE_PROC, status
from resop.ssh.runner.remote.protocol import ENDED_ITSELF, WINDOW

MARK = "RESOP_STEP"
OWN_JOB = [b"SLURM_JOB_ID=" + os.environb.get(b"SLURM_JOB_ID", b"")]
TICK_SECONDS = 0.05


class Step:
    """One command that runs."""

    def __init__(self, number: int, request: Dict[str, Any], mark: str) -> None:
        self.number = number
        self.mark = mark
        self.pid = 0
        """Of its first process; its process group and its session have the same number."""
        self.exit_code: Optional[int] = None
        self.pipes: Dict[int, int] = {}
        self.input = bytearray()
        self.input_ends = False
        self.consumed = 0
        self.room = {1: WINDOW, 2: WINDOW}
        self.step_id = {1: request["max_output"], 2: request["max_output"]}
        self.dropped = False
        self.deadline = time.monotonic() + request["limit"]
        self.grace = request["grace"]
        self.how = ENDED_ITSELF
        self.adopts = False
        """Whether what its processes leave become children of ours, and of nobody else's step."""
        self.tick = TICK_SECONDS
        """While it is being ended: until it is looked for what is left of it again."""
        self.group_told = False
        self.signalled: Set[int] = set()

    def members(self) -> List[int]:
        """The processes of its session, and those of this user that carry its mark."""
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
        if os.getsid(pid) == self.pid or (self.adopts and int(status(str(pid))[1]) == os.getpid()):
            return True
        if os.stat(f"/proc/{pid}").st_uid != os.getuid():
            return False
        with open(f"/proc/{pid}/environ", "rb") as file:
            entries = file.read().split(b"\0")
        # What sbatch has submitted is the scheduler's, should it run on this machine, too.
        jobs = [entry for entry in entries if entry.startswith(b"SLURM_JOB_ID=")]
        return f"{MARK}={self.mark}".encode() in entries and jobs in ([], OWN_JOB)

    def signal_group(self, number: int) -> None:
        """Signal its process group: all at once, before one of them can start another."""
        # Later the group's number may be somebody else's.
        if not self.group_told and (self.exit_code is None or not HAVE_PROC):
            self.group_told = True
            with contextlib.suppress(OSError):
                os.killpg(self.pid, number)
                os.killpg(self.pid, signal.SIGCONT)

    def signal(self, number: int) -> bool:
        """Signal those of its processes that had no signal yet; tell whether there are any."""
        self.signal_group(number)
        group = self.pid if self.group_told and not self.signalled else None
        members = self.members()
        for pid in set(members) - self.signalled:
            with contextlib.suppress(OSError):
                if os.getpgid(pid) != group:
                    os.kill(pid, number)
                    os.kill(pid, signal.SIGCONT)
        self.signalled.update(members)
        return bool(members)
