"""A daemon of the machine: start it, wait until it is ready, find and stop its process."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from testbed.machine import Machine, wait_for

START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 10.0

# Prints the daemon's process ID in the machine; the daemon becomes a child of process 1.
_SPAWN = 'log=$1; shift; setsid -- "$@" </dev/null >>"$log" 2>&1 & echo $!'


def _do_nothing(machine: Machine) -> None:
    pass


@dataclass(frozen=True)
class Daemon:
    """A program that runs in the foreground.

    `ready` is a command that succeeds once the daemon serves. `prepare` runs before each start and
    `seed` after it; both may be repeated. `needs` names the daemons that must be ready before.
    """

    name: str
    command: tuple[str, ...]
    ready: tuple[str, ...] = ("true",)
    user: str | None = None
    needs: tuple[str, ...] = ()
    prepare: Callable[[Machine], None] = _do_nothing
    seed: Callable[[Machine], None] = _do_nothing
    stop_signal: str = "TERM"

    def start(self, machine: Machine) -> None:
        """Start the daemon unless it runs, and wait until it is ready."""
        if self.pid(machine) is not None:
            return
        self.prepare(machine)
        as_user = [f"--reuid={self.user}", f"--regid={self.user}", "--init-groups"]
        change = ["setpriv", *as_user, "--"] if self.user else []
        log = f"/var/log/{self.name}.out"
        output = machine.run(["sh", "-c", _SPAWN, "spawn", log, *change, *self.command])
        pid = int(output)
        try:
            self._file(machine).write_text(f"{pid} {_start_time(machine, pid)}")
        except (FileNotFoundError, ProcessLookupError):
            raise self._ended(machine) from None
        wait_for(
            lambda: self._is_ready(machine), START_TIMEOUT_SECONDS, f"{self.name} does not answer"
        )
        self.seed(machine)

    def stop(self, machine: Machine) -> None:
        """Stop the daemon if it runs, and wait until it is gone."""
        for sign in (self.stop_signal, "KILL"):
            pid = self.pid(machine)
            if pid is None:
                return
            machine.succeeds(["kill", f"-{sign}", str(pid)])
            try:
                wait_for(
                    lambda: self.pid(machine) is None,
                    STOP_TIMEOUT_SECONDS,
                    f"{self.name} does not stop",
                )
            except RuntimeError:
                if sign == "KILL":
                    raise

    def pid(self, machine: Machine) -> int | None:
        """Return the daemon's process ID in the machine, or None if it does not run.

        Compares the start time too, because process IDs are reused.
        """
        try:
            pid, start_time = self._file(machine).read_text().split()
            if _start_time(machine, int(pid)) == start_time:
                return int(pid)
        except (OSError, ValueError):
            pass
        return None

    def _is_ready(self, machine: Machine) -> bool:
        if self.pid(machine) is None:
            raise self._ended(machine)
        return machine.succeeds(self.ready)

    def _ended(self, machine: Machine) -> RuntimeError:
        lines = machine.inside(f"/var/log/{self.name}.out").read_text().splitlines()
        return RuntimeError("\n".join([f"{self.name} ended at once; its log ends:", *lines[-10:]]))

    def _file(self, machine: Machine) -> Path:
        return machine.inside(f"/run/testbed/{self.name}")


def _start_time(machine: Machine, pid: int) -> str:
    """Return the start time of a process in clock ticks. Raises ProcessLookupError for a zombie."""
    # The second field is the program's name in brackets, which may contain blanks and brackets.
    fields = machine.inside(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if fields[0] == "Z":
        raise ProcessLookupError(pid)
    return fields[19]
