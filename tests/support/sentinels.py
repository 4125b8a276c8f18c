"""Two Redis servers and the sentinels that watch them, on private loopback ports.

The servers ask for one password, the sentinels for another one. `failover` exchanges the roles of
the servers; `kill_master` makes the sentinels do so; `UnreliableRedis` does both by itself.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import redis

from tests.support.ports import HOST, free_port
from tests.support.services import DEPLOY, Process, eventually

MASTER = "mymaster"
PASSWORD = "server:pw/@%"  # special characters, which an address must quote
SENTINEL_PASSWORD = "sentinel:pw/&="
SECONDS_UNTIL_DOWN = 1
SECONDS_DISTURBED = 5
"""How long after a failover a request may be refused because of it."""
TLS_FILES = ("tls-cert-file", "tls-key-file", "tls-ca-cert-file")


class _Server:
    """One server or sentinel, which rewrites its configuration file."""

    def __init__(self, folder: Path, program: str, port: int, lines: list[str]) -> None:
        self.folder, self.port = folder, port
        self._program = program
        folder.mkdir(parents=True)
        self._file = folder / "server.conf"
        own = [f"bind {HOST}", f"dir {folder}", f"logfile {folder / 'server.log'}", *lines]
        self._file.write_text("\n".join([*own, ""]))
        self.process: Process | None = None

    def start(self, *arguments: str) -> None:
        command = [self._program, str(self._file), *arguments]
        self.process = Process(
            command, self.folder / "output", {"PATH": os.defpath}, cwd=self.folder
        )

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send(number)
        # Redis ignores SIGTERM while it writes its first append-only file after a synchronization.
        while not eventually(lambda: process.exit_code is not None, 2):
            process.send(number)


class RedisWithSentinels:
    """A context manager with the methods of `services.Redis`, and failovers."""

    def __init__(
        self,
        folder: Path,
        *,
        sentinels: int = 3,
        program: str = "redis-server",
        tls: dict[str, Path] | None = None,
    ) -> None:
        """Prepare the servers; `tls` names the files of TLS_FILES, and makes all use TLS."""
        self._tls = tls
        self._ports = [free_port(), free_port()]
        path = shutil.which(program, path="/usr/bin:/usr/local/bin") or program
        self._servers = [self._server(folder, path, number) for number in (0, 1)]
        self._sentinels = [
            self._sentinel(folder / f"sentinel-{number}", path, sentinels // 2 + 1)
            for number in range(sentinels)
        ]

    @property
    def url(self) -> str:
        """The value for REDIS_URL; nobody listens at the first of its addresses."""
        hosts = ",".join(f"{HOST}:{port}" for port in (free_port(), *self.sentinel_ports))
        scheme = "rediss" if self._tls else "redis"
        ca = f"&ssl_ca_certs={self._tls['tls-ca-cert-file']}" if self._tls else ""
        options = f"sentinel_password={quote(SENTINEL_PASSWORD, safe='')}{ca}"
        return f"{scheme}+sentinel://:{quote(PASSWORD, safe='')}@{hosts}/{MASTER}/0?{options}"

    @property
    def sentinel_ports(self) -> list[int]:
        """The ports of the sentinels."""
        return [each.port for each in self._sentinels]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start what does not run, and wait until a failover is possible."""
        for server in self._servers:
            if server.process is None:
                server.start()
        assert eventually(lambda: self._role_of(0) and self._role_of(1))
        for sentinel in self._sentinels:
            if sentinel.process is None:
                sentinel.start("--sentinel")
        assert eventually(self._can_fail_over), "the sentinels see no replica"

    def stop(self) -> None:
        """Stop the servers; the sentinels continue, and the data remains."""
        for server in self._servers:
            server.end()

    def close(self) -> None:
        """Stop everything."""
        for each in (*self._sentinels, *self._servers):
            each.end(signal.SIGKILL)

    def client(self) -> redis.Redis:
        """Create a client of the master; the caller must close it."""
        return self._client(self._ports[self.master])

    @property
    def master(self) -> int:
        """The number of the server that the sentinels name."""
        with self._sentinel_client(self.sentinel_ports[0]) as client:
            address: Any = client.sentinel_get_master_addr_by_name(MASTER)
        return self._ports.index(int(address[1]))

    def failover(self) -> None:
        """Exchange the roles of the servers, which both continue to run."""
        old = self.master
        assert eventually(self._can_fail_over)
        while True:  # until the sentinel has found the replica good
            with (
                self._sentinel_client(self.sentinel_ports[0]) as client,
                contextlib.suppress(redis.ResponseError),
            ):
                client.sentinel_failover(MASTER)
            if eventually(lambda: self.master != old, 4):
                return

    def kill_master(self) -> None:
        """Kill the master, wait for the failover, and start it again as the replica.

        The sentinels would make it one ten seconds later.
        """
        old = self.master
        assert eventually(self._can_fail_over)
        self._servers[old].end(signal.SIGKILL)
        assert eventually(lambda: self.master != old)
        self._servers[old].start("--replicaof", HOST, str(self._ports[1 - old]))

    def _server(self, folder: Path, program: str, number: int) -> _Server:
        lines = [
            f"include {DEPLOY / 'redis.conf'}",
            f'requirepass "{PASSWORD}"',
            f'masterauth "{PASSWORD}"',
            "repl-diskless-sync-delay 0",
            *self._tls_lines(self._ports[number]),
            *([f"replicaof {HOST} {self._ports[0]}"] if number else []),
        ]
        return _Server(folder / f"server-{number}", program, self._ports[number], lines)

    def _tls_lines(self, port: int) -> list[str]:
        if self._tls is None:
            return [f"port {port}"]
        files = [f"{name} {self._tls[name]}" for name in TLS_FILES]
        return ["port 0", f"tls-port {port}", "tls-replication yes", "tls-auth-clients no", *files]

    def _sentinel(self, folder: Path, program: str, quorum: int) -> _Server:
        port = free_port()
        lines = [
            *self._tls_lines(port),
            f'requirepass "{SENTINEL_PASSWORD}"',
            f'sentinel sentinel-pass "{SENTINEL_PASSWORD}"',
            f"sentinel monitor {MASTER} {HOST} {self._ports[0]} {quorum}",
            f'sentinel auth-pass {MASTER} "{PASSWORD}"',
            f"sentinel down-after-milliseconds {MASTER} {SECONDS_UNTIL_DOWN * 1000}",
            f"sentinel failover-timeout {MASTER} 3000",
        ]
        return _Server(folder, program, port, lines)

    def _can_fail_over(self) -> bool:
        """Return True once every sentinel knows all others, and a replica in step."""
        with contextlib.suppress(redis.RedisError):
            return self._is_in_step() and all(map(self._is_informed, self.sentinel_ports))
        return False

    def _is_in_step(self) -> bool:
        if self._role_of(self.master) != "master":
            return False
        with contextlib.closing(self._client(self._ports[1 - self.master])) as client:
            state: Any = client.info("replication")
        return bool(state["role"] == "slave" and state["master_link_status"] == "up")

    def _is_informed(self, port: int) -> bool:
        with self._sentinel_client(port) as client:
            masters: Any = client.sentinel_masters()
            replicas: Any = client.sentinel_slaves(MASTER)
        state = masters[MASTER]
        others = int(state["num-other-sentinels"])
        is_idle = not (state["is_sdown"] or state["is_odown"] or "progress" in str(state["flags"]))
        is_complete = others == len(self.sentinel_ports) - 1 and len(replicas) == 1
        return is_idle and is_complete and not replicas[0]["is_sdown"]

    def _role_of(self, number: int) -> str:
        """Return the role of a server; empty if it does not answer."""
        with (
            contextlib.suppress(redis.RedisError),
            contextlib.closing(self._client(self._ports[number])) as client,
        ):
            role: Any = client.role()
            return str(role[0].decode())
        return ""

    def _sentinel_client(self, port: int) -> contextlib.closing[redis.Redis]:
        return contextlib.closing(self._client(port, SENTINEL_PASSWORD))

    def _client(self, port: int, password: str = PASSWORD) -> redis.Redis:
        tls: dict[str, Any] = {}
        if self._tls:
            tls = {"ssl": True, "ssl_ca_certs": str(self._tls["tls-ca-cert-file"])}
        return redis.Redis(HOST, port, password=password, socket_timeout=10, **tls)


class UnreliableRedis(RedisWithSentinels):
    """Fails over every few seconds, except while a test has stopped the servers."""

    def __init__(self, folder: Path, seconds: float) -> None:
        super().__init__(folder)
        self.failovers = 0
        self._seconds = seconds
        self._in_use = threading.Lock()
        """Held while it fails over, and while a test has stopped it."""
        self._closing = threading.Event()
        self._disturbed_until = 0.0
        self._thread = threading.Thread(target=self._fail_over_often, daemon=True)

    @property
    def disturbed(self) -> bool:
        """True while a failover may be the cause of a refused request."""
        return time.monotonic() < self._disturbed_until

    def start(self) -> None:
        """Start the servers, and to fail over."""
        super().start()
        if self._in_use.locked():
            self._in_use.release()
        if not self._thread.is_alive():
            self._thread.start()

    def stop(self) -> None:
        """Stop the servers, and failing over."""
        self._in_use.acquire()
        super().stop()

    def close(self) -> None:
        """Stop everything."""
        self._closing.set()
        super().close()

    def _fail_over_often(self) -> None:
        while not self._closing.wait(self._seconds):
            with self._in_use:
                self._disturbed_until = math.inf
                (self.kill_master if self.failovers % 2 else self.failover)()
                self.failovers += 1
                self._disturbed_until = time.monotonic() + SECONDS_DISTURBED
