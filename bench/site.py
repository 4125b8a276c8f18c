"""The service under measurement: a real OpenSSH server and all of resop, on private ports."""

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
OTHER_USER = "beside"
"""Another user, with the same password."""
WORKER_START_SECONDS = 5.0
"""Time within which a worker starts to serve."""
OPERATORS = Path(__file__).parent / "operators"
"""Actions that exist only to be measured."""


@dataclass(frozen=True, slots=True)
class MeasuredService:
    """A running service, and the token of a logged-in user."""

    port: int
    token: str
    supervisor: int
    """The process ID of `resop up`."""
    environ: Mapping[str, str]
    """The environment of the service's processes."""

    def log_in_other(self, name: str = OTHER_USER) -> str:
        """Log in another user and return the token."""
        return _log_in(self.port, name, PASSWORD)

    def memory(self) -> dict[str, float]:
        """Return the resident MiB of each process of the service, by module."""
        memory = {}
        for pid in _children(self.supervisor):
            status = Path(f"/proc/{pid}/status").read_text()
            resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
            memory[_name(pid)] = int(resident.split()[1]) / 1024
        return memory

    def signal(self, number: signal.Signals, module: str) -> int:
        """Send a signal to the process of the service that runs `module`; return its ID."""
        pid = next(int(pid) for pid in _children(self.supervisor) if _name(pid) == module)
        os.kill(pid, number)
        return pid

    def cpu_seconds(self) -> dict[str, float]:
        """Return the processor seconds used by each process of the service, by module.

        `node` is the sum of this process's other descendants: sshd, the runner, the commands.
        """
        seconds = {_name(pid): _cpu_seconds(pid) for pid in _children(self.supervisor)}
        service = {str(self.supervisor), *_children(self.supervisor)}
        node = [pid for pid in _descendants(str(os.getpid())) if pid not in service]
        return seconds | {"node": sum(map(_cpu_seconds, node))}


@dataclass(frozen=True, slots=True)
class MeasuredSite(MeasuredService):
    """A service and the login node that it uses."""

    ssh: OpenSSH


@contextlib.contextmanager
def start_site(
    folder: Path, runner: str = "auto", others: Sequence[str] = (OTHER_USER,), **environ: str
) -> Iterator[MeasuredSite]:
    """Start sshd (MaxSessions 10) and the service, log in; stop both at the end.

    `runner` is the setting REMOTE_RUNNER; `others` are additional users; `environ` is added to the
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
        with start_service(folder, settings, USER, PASSWORD) as service:
            yield MeasuredSite(
                service.port, service.token, service.supervisor, service.environ, ssh
            )


@contextlib.contextmanager
def start_service(
    folder: Path, settings: Mapping[str, str], username: str, password: str
) -> Iterator[MeasuredService]:
    """Start the service with these settings, log in a user; stop it at the end."""
    port = _free_port()
    environ = {
        **os.environ,
        "DATA_DIR": str(folder / "data"),
        "PORT": str(port),
        "LOG_LEVEL": "WARNING",
        "CONNECTIONS_PER_ADDRESS": "10000",  # all callers have the same address here
        "OPERATORS_PATH": str(OPERATORS),
        **settings,
    }
    command = [sys.executable, "-P", "-m", "cli.main", "up"]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    try:
        _until_ready(port, process)
        yield MeasuredService(port, _log_in(port, username, password), process.pid, environ)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@contextlib.contextmanager
def start_process(service: MeasuredService, module: str) -> Iterator[int]:
    """Add a process `api.main` or `worker.main` to a service; yield its port, if it is an API.

    An API answers by then; a worker has had WORKER_START_SECONDS.
    """
    port = _free_port()
    with Path(service.environ["DATA_DIR"], "further.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            env={**service.environ, "PORT": str(port)},
            stdout=log,
            stderr=log,
        )
    try:
        if module == "api.main":
            _until_ready(port, process)
        else:
            time.sleep(WORKER_START_SECONDS)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
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


def _cpu_seconds(pid: str) -> float:
    """Return the processor seconds of a process and of its ended children."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def machine_cpu_seconds() -> float:
    """Return the processor seconds used by the whole machine since it was booted."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, fields)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _name(pid: str) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return words[words.index("-m") + 1] if "-m" in words else Path(words[0]).name
