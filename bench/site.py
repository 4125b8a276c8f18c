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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from tests.support.openssh import Account, OpenSSH

USER, PASSWORD = "bench", "bench-password"
OTHER = "beside"
"""Another user, of the same password."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where things are."""

    ssh: OpenSSH
    port: int
    token: str
    supervisor: int
    """Process id."""

    def log_in_other(self) -> str:
        """The token of another user."""
        return _log_in(self.port, OTHER)

    def memory(self) -> dict[str, float]:
        """Resident MiB of each process of the service, by its module."""
        found = {}
        for pid in _children(self.supervisor):
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            status = Path(f"/proc/{pid}/status").read_text()
            resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
            name = words[words.index("-m") + 1] if "-m" in words else Path(words[0]).name
            found[name] = int(resident.split()[1]) / 1024
        return found


@contextlib.contextmanager
def site(folder: Path, runner: str = "auto", operators: Path | None = None) -> Iterator[Site]:
    """Start sshd (MaxSessions 10) and the service, log in; stop both at the end.

    `runner` is the setting REMOTE_RUNNER, `operators` a folder of further ones.
    """
    with OpenSSH(folder / "ssh", [Account(USER, PASSWORD), Account(OTHER, PASSWORD)]) as ssh:
        port = _free_port()
        environ = {
            **os.environ,
            "DATA_DIR": str(folder / "data"),
            "PORT": str(port),
            "CLUSTER_NAME": "bench",
            "CLUSTER_ADDRESS": ssh.host,
            "CLUSTER_SSH_PORT": str(ssh.port),
            "KNOWN_HOSTS": str(ssh.known_hosts),
            "LOG_LEVEL": "WARNING",
            "REMOTE_RUNNER": runner,
            "OPERATORS_PATH": str(operators or ""),
        }
        service = subprocess.Popen([sys.executable, "-m", "cli.main", "up"], env=environ)
        try:
            _until_ready(port, service)
            yield Site(ssh, port, _log_in(port), service.pid)
        finally:
            service.send_signal(signal.SIGINT)
            service.wait(60)


def _until_ready(port: int, service: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and service.poll() is None:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready"),
        ):
            return
        time.sleep(0.1)
    raise RuntimeError("the service did not start")


def _log_in(port: int, username: str = USER) -> str:
    data = urlencode({"username": username, "password": PASSWORD}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/auth/opn/login", data) as answer:
        return str(json.load(answer)["output"]["token"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
