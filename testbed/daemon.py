"""A daemon of the machine: how it is started, known to be ready, found again and stopped."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from testbed.machine import Machine, wait_for

START_SECONDS = 30.0
STOP_SECONDS = 10.0

# Prints the number that the machine has for the daemon: it becomes a child of process 1.
_SPAWN = 'log=$1; shift; setsid -- "$@" </dev/null >>"$log" 2>&1 & echo $!'


def _nothing(machine: Machine) -> None:
    pass


@dataclass(frozen=True)
class Daemon:
    """A program that stays in the foreground.

    `prepare` runs before it starts and `seed` once it is `ready`, both at every start: each is
    harmless when repeated. `needs` names the daemons that are to be ready before.
    """

    name: str
    command: tuple[str, ...]
    ready: tuple[str, ...] = ("true",)
    user: str | None = None
    needs: tuple[str, ...] = ()
    prepare: Callable[[Machine], None] = _nothing
    seed: Callable[[Machine], None] = _nothing
    stop_signal: str = "TERM"

    def start(self, machine: Machine) -> None:
        """Bring it up; returns when it is ready. Harmless when it runs."""
        if self.pid(machine) is not None:
            return
        self.prepare(machine)
        as_user = [f"--reuid={self.user}", f"--regid={self.user}", "--init-groups"]
        change = ["setpriv", *as_user, "--"] if self.user else []
        log = f"/var/log/{self.name}.out"
        spawned = machine.run(["sh", "-c", _SPAWN, "spawn", log, *change, *self.command])
        pid = int(spawned)
        try:
            self._file(machine).write_text(f"{pid} {_started(machine, pid)}")
        except (FileNotFoundError, ProcessLookupError):
            raise self._ended(machine) from None
        wait_for(lambda: self._is_ready(machine), START_SECONDS, f"{self.name} does not answer")
        self.seed(machine)

    def stop(self, machine: Machine) -> None:
        """Take it down; returns when it is gone. Harmless when it is."""
        for sign in (self.stop_signal, "KILL"):
            pid = self.pid(machine)
            if pid is None:
                return
            machine.succeeds(["kill", f"-{sign}", str(pid)])
            try:
                wait_for(lambda: self.pid(machine) is None, STOP_SECONDS, f"{self.name} stays")
            except RuntimeError:
                if sign == "KILL":
                    raise

    def pid(self, machine: Machine) -> int | None:
        """The machine's number of it, None when it does not run.

        Its start time is compared, too: the number may have been given out again.
        """
        try:
            pid, started = self._file(machine).read_text().split()
            if _started(machine, int(pid)) == started:
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
        return RuntimeError("\n".join([f"{self.name} ended at once:", *lines[-10:]]))

    def _file(self, machine: Machine) -> Path:
        return machine.inside(f"/run/testbed/{self.name}")


def _started(machine: Machine, pid: int) -> str:
    """When a process began, in the kernel's ticks; ProcessLookupError for a zombie."""
    # the second field is the program's name in brackets, which may hold anything
    fields = machine.inside(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if fields[0] == "Z":
        raise ProcessLookupError(pid)
    return fields[19]
