"""A site to measure: a real OpenSSH server and the whole service, on private ports."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from tests.support.openssh import Account, OpenSSH

USER, PASSWORD = "bench", "bench-password"
OTHER = "beside"
"""Another user, of the same password."""
WORKER_SECONDS = 5.0
"""In which a worker has begun to serve."""
OPERATORS = Path(__file__).parent / "operators"
"""Actions that are measured."""


@dataclass(frozen=True, slots=True)
class Service:
    """The whole service, and the token of somebody who is logged in."""

    port: int
    token: str
    supervisor: int
    """Process id."""
    environ: Mapping[str, str]
    """Of its processes."""

    def log_in_other(self, name: str = OTHER) -> str:
        """The token of another user."""
        return _log_in(self.port, name, PASSWORD)

    def memory(self) -> dict[str, float]:
        """Resident MiB of each process of the service, by its module."""
        found = {}
        for pid in _children(self.supervisor):
            status = Path(f"/proc/{pid}/status").read_text()
            resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
            found[_name(pid)] = int(resident.split()[1]) / 1024
        return found

    def signal(self, number: signal.Signals, module: str) -> int:
        """Send a signal to the process of the service that runs `module`; its number."""
        pid = next(int(pid) for pid in _children(self.supervisor) if _name(pid) == module)
        os.kill(pid, number)
        return pid

    def processor(self) -> dict[str, float]:
        """Seconds of processor time that each process of the service has had, by its module.

        `node` is all else below this process: sshd, the runner, the commands.
        """
        found = {_name(pid): _processor(pid) for pid in _children(self.supervisor)}
        ours = {str(self.supervisor), *_children(self.supervisor)}
        below = [pid for pid in _descendants(str(os.getpid())) if pid not in ours]
        return found | {"node": sum(map(_processor, below))}


@dataclass(frozen=True, slots=True)
class Site(Service):
    """A service in front of a login node of its own."""

    ssh: OpenSSH


@contextlib.contextmanager
def site(
    folder: Path, runner: str = "auto", others: Sequence[str] = (OTHER,), **environ: str
) -> Iterator[Site]:
    """Start sshd (MaxSessions 10) and the service, log in; stop both at the end.

    `runner` is the setting REMOTE_RUNNER; `others` are further users; `environ` is further
    environment of the service.
    """
    accounts = [Account(name, PASSWORD) for name in (USER, *others)]
    with OpenSSH(folder / "ssh", accounts) as ssh:
        settings = {
            "CLUSTER_NAME": "bench",
            "CLUSTER_ADDRESS": ssh.host,
            "CLUSTER_SSH_PORT": str(ssh.port),
            "KNOWN_HOSTS": str(ssh.known_hosts),
            "REMOTE_RUNNER": runner,
            **environ,
        }
        with service(folder, settings, USER, PASSWORD) as here:
            yield Site(here.port, here.token, here.supervisor, here.environ, ssh)


@contextlib.contextmanager
def service(
    folder: Path, settings: Mapping[str, str], username: str, password: str
) -> Iterator[Service]:
    """Start the service with these settings, log somebody in; stop it at the end."""
    port = _free_port()
    environ = {
        **os.environ,
        "DATA_DIR": str(folder / "data"),
        "PORT": str(port),
        "LOG_LEVEL": "WARNING",
        "OPERATORS_PATH": str(OPERATORS),
        **settings,
    }
    command = [sys.executable, "-P", "-m", "cli.main", "up"]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    try:
        _until_ready(port, process)
        yield Service(port, _log_in(port, username, password), process.pid, environ)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@contextlib.contextmanager
def further(here: Service, module: str) -> Iterator[int]:
    """One more process of a service, `api.main` or `worker.main`; the port of the former.

    A worker serves soon after.
    """
    port = _free_port()
    with Path(here.environ["DATA_DIR"], "further.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            env={**here.environ, "PORT": str(port)},
            stdout=log,
            stderr=log,
        )
    try:
        if module == "api.main":
            _until_ready(port, process)
        else:
            time.sleep(WORKER_SECONDS)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _until_ready(port: int, service: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and service.poll() is None:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready"),
        ):
            return
        time.sleep(0.1)
    raise RuntimeError("the service did not start")


def _log_in(port: int, username: str, password: str) -> str:
    data = urlencode({"username": username, "password": password}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/auth/opn/login", data) as answer:
        return str(json.load(answer)["output"]["token"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _children(pid: int | str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []


def _descendants(pid: str) -> list[str]:
    return [each for child in _children(pid) for each in (child, *_descendants(child))]


def _processor(pid: str) -> float:
    """Of a process and of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def machine() -> float:
    """Seconds of processor time that the whole machine has had since it began."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, fields)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _name(pid: str) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return words[words.index("-m") + 1] if "-m" in words else Path(words[0]).name
