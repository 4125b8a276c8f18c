"""The machine that a testbed runs on: private mount, PID, UTS and IPC namespaces of this host.

Its /etc, /home, /srv and /var/log are folders of the state; /run, /tmp and the like are private;
everything else is the host's, read-only. Its process 1 only reaps children: when it is killed, the
kernel ends all other processes of the machine. The network is the host's.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ENVIRONMENT = {  # instead of the caller's environment
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
}
FOLDERS = {"etc": "/etc", "home": "/home", "srv": "/srv", "log": "/var/log"}

_NAMESPACES = (
    *("unshare", "--mount", "--propagation", "private"),
    *("--pid", "--fork", "--kill-child", "--uts", "--ipc"),
)

# Process 1. It binds our folders before it hides /tmp and /var/tmp, as the state may be in these.
# /proc is the host's at first, and so is the process ID that it reads. It prints this ID last: once
# the ID can be read, the machine is complete.
_INIT = """
set -eu
state=$1 hostname=$2
shift 2
read -r pid _ </proc/self/stat
while [ $# -gt 0 ]; do mount --bind "$state/$1" "$2"; shift 2; done
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=2775,gid="$(stat -c %g /var/mail)" tmpfs /var/mail
for open in /tmp /var/tmp /dev/shm; do mount -t tmpfs -o mode=1777 tmpfs "$open"; done
mkdir /run/lock /run/testbed
mount -t proc proc /proc
hostname "$hostname"
mount -o remount,bind,ro /
echo "$pid"
while :; do sleep infinity & wait; done
"""


class Machine:
    """The machine whose files are in the folder `state`; it may be on or off."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._pid_file = state / "machine.pid"

    # -- power ------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """The host's process ID of the machine's process 1; None when the machine is off."""
        try:
            pid = int(self._pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        # The ID may belong to another process by now; a zombie has no command line.
        return pid if f"\0init\0{self.state}\0".encode() in command else None

    def boot(self, hostname: str) -> None:
        """Switch the machine on. Raises RuntimeError with the reason if that fails."""
        log = self.state / "machine.log"
        binds = [word for pair in FOLDERS.items() for word in pair]
        with log.open("wb") as errors, self._pid_file.open("wb") as output:
            unshare = subprocess.Popen(
                [*_NAMESPACES, "bash", "-c", _INIT, "init", str(self.state), hostname, *binds],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,  # Ctrl-C must reach only the caller
            )

        def is_up() -> bool:
            if unshare.poll() is not None:
                raise RuntimeError(f"the machine could not be set up: {log.read_text().strip()}")
            return self.pid is not None

        wait_for(is_up, 10, "the machine does not start")

    def power_off(self) -> None:
        """Kill every process of the machine; does nothing when it is off."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: _has_ended(pid), 10, "the machine does not stop")
        self._pid_file.unlink(missing_ok=True)

    def processes(self) -> list[int]:
        """Return the host's process IDs of all the machine's processes; empty when it is off."""
        pid = self.pid
        if pid is None:
            return []
        namespace = Path(f"/proc/{pid}/ns/pid").readlink()
        pids = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # the process ended meanwhile
                if Path(process, "ns/pid").readlink() == namespace:
                    pids.append(int(process.name))
        return pids

    # -- inside -----------------------------------------------------------------------------

    def inside(self, path: str) -> Path:
        """Return the host's path of a file of the running machine."""
        return Path(f"/proc/{self._running()}/root") / path.lstrip("/")

    def enter(self, command: Sequence[str], user: str | None = None) -> list[str]:
        """Return the host command that runs `command` in the machine, as root or as `user`."""
        as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"]
        return [
            *("nsenter", "-t", str(self._running()), "--mount", "--pid", "--uts", "--ipc", "--"),
            *(as_user if user else []),
            *command,
        ]

    def run(
        self,
        command: Sequence[str],
        *,
        user: str | None = None,
        text: str = "",
        timeout: float = 60,
    ) -> str:
        """Run a command with `text` on standard input and return its output.

        Raises RuntimeError with its error output if it fails or exceeds `timeout` seconds.
        """
        try:
            result = subprocess.run(
                self.enter(command, user),
                input=text,
                capture_output=True,
                text=True,
                env=ENVIRONMENT,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{command[0]} took longer than {timeout:.0f} s") from None
        if result.returncode != 0:
            output = (result.stderr or result.stdout).strip()
            raise RuntimeError(f"{command[0]} failed ({result.returncode}): {output[-2000:]}")
        return result.stdout

    def succeeds(
        self, command: Sequence[str], *, user: str | None = None, timeout: float = 5
    ) -> bool:
        """Return True if a command succeeds within `timeout` seconds."""
        try:
            self.run(command, user=user, timeout=timeout)
        except RuntimeError:
            return False
        return True

    def _running(self) -> int:
        pid = self.pid
        if pid is None:
            raise RuntimeError("the testbed is not up; start it with: python -m testbed start")
        return pid


def _has_ended(pid: int) -> bool:
    """Return True if a process is gone or a zombie; process 1 may remain as a zombie."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_for(condition: Callable[[], bool], seconds: float, problem: str) -> None:
    """Poll `condition` until it is true. Raises RuntimeError with `problem` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{problem} (after {seconds:.0f} s)")
        time.sleep(0.05)
