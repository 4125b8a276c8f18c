"""The real service as a person starts it, and a small client for it: `resop up` on one machine,
or two `resop api` and two `resop worker` on Redis and MariaDB."""

import contextlib
import itertools
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import httpx
import redis

from resop.config.settings import Settings, load_settings
from tests.support.openssh import Account, OpenSSH
from tests.support.ports import HOST, free_port
from tests.support.services import PATIENCE, ROOT, Process, Redis

RESOP = (str(Path(sys.executable).with_name("resop")),)
# Nothing of the tests' own surroundings leaks in; it is this tree that is run.
ENVIRON = {"PATH": os.environ.get("PATH", ""), "HOME": "/nonexistent", "PYTHONPATH": str(ROOT)}


def write_config(folder: Path, settings: Mapping[str, object]) -> Path:
    """Write a config.env into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "config.env"
    file.write_text("".join(f"{name}='{value}'\n" for name, value in settings.items()))
    return file


def run_resop(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `resop WORDS` in a folder to its end; what is meant to end by itself."""
    return subprocess.run(
        [*RESOP, *words],
        cwd=folder,
        env=ENVIRON,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def cluster_settings(ssh: OpenSSH) -> dict[str, object]:
    """The settings that make `ssh` the cluster."""
    return {
        "CLUSTER_NAME": "hpc",
        "CLUSTER_ADDRESS": ssh.host,
        "CLUSTER_SSH_PORT": ssh.port,
        "KNOWN_HOSTS": ssh.known_hosts,
    }


class Caller:
    """One who calls the API at one address, with the token of a login."""

    def __init__(self, address: str, token: str = "") -> None:
        # Waits longer than the service does; takes no proxy from the environment.
        self.http = httpx.Client(base_url=address, timeout=60, trust_env=False)
        self.token = token
        if token:
            self.http.headers["Authorization"] = f"Bearer {token}"

    def login(self, username: str, password: str) -> httpx.Response:
        """Ask for a token."""
        return self.post("auth/opn/login", {"username": username, "password": password})

    def post(
        self,
        action: str,
        options: Mapping[str, Any] | None = None,
        *,
        prefer: str | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> httpx.Response:
        """Run an action (`core/opn/run`); its options are sent as JSON."""
        headers = {"Prefer": prefer} if prefer is not None else None
        return self.http.post(f"/{action}", json=options or {}, headers=headers, params=query)

    def run(self, line: str, **how: Any) -> httpx.Response:
        """Run a line of shell; `how` as for `post`."""
        return self.post("core/opn/run", {"command": line}, **how)

    def begin(self, action: str, options: Mapping[str, Any] | None = None) -> str:
        """Start an action without waiting; the id of its task."""
        answer = self.post(action, options, prefer="respond-async")
        assert answer.status_code == 202, answer.text
        return str(answer.json()["task"])

    def task(self, task_id: str, wait: float = 0) -> dict[str, Any]:
        """A task as it stands now, or when it has ended, or when the wait is over."""
        answer = self.http.get(f"/tasks/{task_id}", params={"wait": wait} if wait else None)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def newest(self, kind: Literal["task", "batch"]) -> list[str]:
        """The ids of its newest, which stay the same while they run and end."""
        named = {"task": "tasks", "batch": "batches"}[kind]
        answer = self.http.get(f"/{named}")
        assert answer.status_code == 200, answer.text
        return [each[kind] for each in answer.json()[named]]

    def close(self) -> None:
        """Close its connections."""
        self.http.close()


def failure(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The `error` of an answer that has this status and the one shape of everything that failed."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text[:1000]}"
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["success"] is False
    error: dict[str, Any] = body["error"]
    assert isinstance(error["message"], str) and error["message"]
    assert isinstance(error["type"], str) and isinstance(error["retryable"], bool)
    assert "Traceback" not in answer.text
    return error


class Service:
    """A service on one machine or many; a context manager, usable again after `stop`."""

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        """`folder` takes config.env, logs and data; short, since a unix socket stands in it."""
        self.folder = folder
        self.data = folder / "data"
        self.config = write_config(folder, {**settings, "DATA_DIR": self.data})
        self.ports: list[int] = []
        """Of the API processes."""
        self._opened = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()
        self.stop()

    def start(self) -> None:
        """Bring it up; returns when it answers."""
        raise NotImplementedError

    def stop(self) -> None:
        """End every process of it, in order. Harmless when stopped."""
        raise NotImplementedError

    @property
    def settings(self) -> Settings:
        """What its config.env says."""
        return load_settings(self.config, {})

    def caller(self, token: str = "", api: int = 0) -> Caller:
        """A caller of one of the API processes; closed with the service."""
        caller = Caller(f"http://{HOST}:{self.ports[api]}", token)
        self._opened.callback(caller.close)
        return caller

    def log_in(self, account: Account, api: int = 0) -> Caller:
        """A caller with a token of its own."""
        answer = self.caller(api=api).login(account.name, account.password)
        assert answer.status_code == 200, answer.text
        return self.caller(answer.json()["output"]["token"], api)

    def redis(self) -> redis.Redis:
        """A client of its Redis; closed with the service."""
        client = redis.Redis.from_url(self.settings.redis_url, socket_timeout=10)
        self._opened.callback(client.close)
        return client

    def log(self) -> str:
        """What its processes have written so far, on all their outputs."""
        return "".join(log.read_text(errors="replace") for log in self.folder.rglob("*.log"))

    def _run(self, command: Sequence[str], log: str, **environ: str) -> Process:
        return Process(command, self.folder / log, ENVIRON | environ, cwd=self.folder)


class Embedded(Service):
    """`resop up`: one machine, nothing else installed."""

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        port = free_port()
        super().__init__(folder, {**settings, "PORT": port})
        self.ports = [port]
        self.supervisor: Process | None = None

    def start(self) -> None:
        """Bring it up; returns when it says so."""
        self.supervisor = started = self._run([*RESOP, "up"], "up.log")
        started.until(lambda: "resop is ready" in started.said(), "resop up")

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        supervisor, self.supervisor = self.supervisor, None
        if supervisor is not None:
            supervisor.stop(signal.SIGINT)

    def kill_worker(self) -> None:
        """End the worker without a chance to do anything about it; the others end, too."""
        assert self.supervisor is not None
        children = Path(f"/proc/{self.supervisor.pid}/task/{self.supervisor.pid}/children")
        pids = map(int, children.read_text().split())
        [worker] = [
            pid for pid in pids if "worker.main" in Path(f"/proc/{pid}/cmdline").read_text()
        ]
        os.kill(worker, signal.SIGKILL)
        self.supervisor.wait()


class Many(Service):
    """Two API processes and two workers, on a Redis of their own and a database of MariaDB."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, object],
        database_url: str,
        worker: Sequence[str] = (*RESOP, "worker"),
    ) -> None:
        """`worker` is the command that starts a worker."""
        self.redis_server = Redis(folder / "redis")
        connected = {
            "REDIS_URL": self.redis_server.url,
            "DATABASE_URL": database_url,
            "SECRET_KEY": secrets.token_urlsafe(48),
        }
        super().__init__(folder, {**settings, **connected})
        self.apis: list[Process] = []
        self.workers: list[Process] = []
        self._worker = worker
        self._numbers = itertools.count(1)

    def start(self) -> None:
        """Bring up Redis, two workers and two API processes."""
        self.redis_server.start()
        self.ports = [free_port(), free_port()]
        self.workers = [self._begin_worker(), self._begin_worker()]
        self.apis = [self._begin_api(port) for port in self.ports]
        self._until_ready()

    def stop(self) -> None:
        """End the workers, the API processes, then Redis."""
        running, self.workers, self.apis = [*self.workers, *self.apis], [], []
        for process in running:
            process.send(signal.SIGTERM)
        for process in running:
            process.stop()
        self.redis_server.stop()

    @contextlib.contextmanager
    def further_api(self, **environ: str) -> Iterator[int]:
        """A further API process for a while, with settings of its own; its number."""
        self.ports.append(free_port())
        self.apis.append(self._begin_api(self.ports[-1], **environ))
        try:
            self._until_ready()
            yield len(self.apis) - 1
        finally:
            self.apis.pop().stop()
            self.ports.pop()

    def kill_api(self, number: int) -> None:
        """End an API process without a chance to do anything about it."""
        self.apis[number].kill()

    def start_api(self, number: int) -> None:
        """Start a killed API process again, at the same address."""
        self.apis[number] = self._begin_api(self.ports[number])
        self._until_ready()

    def add_workers(self, count: int) -> None:
        """Start further workers."""
        self.workers += [self._begin_worker() for _ in range(count)]
        self._until_ready()

    def stop_workers(self, *chosen: Process) -> None:
        """Stop the workers (all when none is chosen) in order, at once; each exits with 0."""
        stopping = list(chosen or self.workers)
        self.workers = [worker for worker in self.workers if worker not in stopping]
        for worker in stopping:
            worker.send(signal.SIGTERM)
        assert [worker.wait() for worker in stopping] == [0] * len(stopping)

    def kill_worker(self, worker: Process) -> None:
        """End a worker without a chance to do anything about it."""
        self.workers.remove(worker)
        worker.kill()

    def _begin_worker(self) -> Process:
        return self._run(self._worker, f"worker-{next(self._numbers)}.log")

    def _begin_api(self, port: int, **environ: str) -> Process:
        log = f"api-{next(self._numbers)}.log"
        return self._run([*RESOP, "api"], log, PORT=str(port), **environ)

    def _until_ready(self) -> None:
        for worker in self.workers:
            worker.until(lambda said=worker.said: " is ready" in said(), "resop worker")  # type: ignore[misc]
        for process, port in zip(self.apis, self.ports, strict=True):
            process.until(lambda port=port: _is_ready(port), "resop api")  # type: ignore[misc]


def _is_ready(port: int) -> bool:
    with contextlib.suppress(httpx.TransportError):
        address = f"http://{HOST}:{port}/health/ready"
        return httpx.get(address, timeout=PATIENCE, trust_env=False).status_code == 200
    return False
