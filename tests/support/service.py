"""The real service as an administrator starts it, and a small client.

It is `resop up` on one machine, or two `resop api` and two `resop worker` on Redis and MariaDB.
"""

import contextlib
import itertools
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import httpx
import redis

from resop.config.settings import Settings, load_settings
from resop.messaging.redis_client import connect
from tests.support.background_service import BackgroundService
from tests.support.openssh import Account, OpenSSH
from tests.support.ports import HOST, free_port
from tests.support.sentinels import RedisWithSentinels, UnreliableRedis
from tests.support.services import PROCESS_TIMEOUT_SECONDS, ROOT, Process, Redis, eventually

RESOP = (str(Path(sys.executable).with_name("resop")),)
# Instead of the tests' environment; PYTHONPATH makes it run this source tree.
ENVIRON = {"PATH": os.environ.get("PATH", ""), "HOME": "/nonexistent", "PYTHONPATH": str(ROOT)}


def write_config(folder: Path, settings: Mapping[str, object]) -> Path:
    """Make `folder` and write a config.env into it; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "config.env"
    file.write_text("".join(f"{name}='{value}'\n" for name, value in settings.items()))
    return file


def run_resop(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a `resop` command that ends by itself in a folder, and return its result."""
    return subprocess.run(
        [*RESOP, *arguments],
        cwd=folder,
        env=ENVIRON,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PROCESS_TIMEOUT_SECONDS,
        check=False,
    )


def cluster_settings(ssh: OpenSSH) -> dict[str, object]:
    """Return the settings that make `ssh` the cluster."""
    return {
        "CLUSTER_NAME": "hpc",
        "CLUSTER_ADDRESS": ssh.host,
        "CLUSTER_SSH_PORT": ssh.port,
        "KNOWN_HOSTS": ssh.known_hosts,
    }


class _Client(httpx.Client):
    """An HTTP client that repeats what is answered with 503 while `is_disturbed`."""

    is_disturbed: Callable[[], bool]

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request until it is answered otherwise."""
        while (answer := super().send(request, **options)).status_code == 503:
            if not self.is_disturbed():
                break
            time.sleep(0.2)
        return answer


class Caller:
    """A client of the API at one address, with the token of a login."""

    def __init__(
        self, address: str, token: str = "", is_disturbed: Callable[[], bool] = lambda: False
    ) -> None:
        # Waits longer than the service; ignores proxies of the environment.
        client = _Client(base_url=address, timeout=60, trust_env=False)
        client.is_disturbed = is_disturbed
        self.http: httpx.Client = client
        self.token = token
        if token:
            self.http.headers["Authorization"] = f"Bearer {token}"

    def login(self, username: str, password: str) -> httpx.Response:
        """Log in to get a token."""
        return self.post("auth/opn/login", {"username": username, "password": password})

    def post(
        self,
        action: str,
        options: Mapping[str, Any] | None = None,
        *,
        prefer: str | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> httpx.Response:
        """Run an action such as `core/opn/run`; its options are sent as JSON."""
        headers = {"Prefer": prefer} if prefer is not None else None
        return self.http.post(f"/{action}", json=options or {}, headers=headers, params=query)

    def run(self, line: str, **arguments: Any) -> httpx.Response:
        """Run a shell command line; `arguments` are passed to `post`."""
        return self.post("core/opn/run", {"command": line}, **arguments)

    def begin(self, action: str, options: Mapping[str, Any] | None = None) -> str:
        """Start an action without waiting and return the ID of its task."""
        answer = self.post(action, options, prefer="respond-async")
        assert answer.status_code == 202, answer.text
        return str(answer.json()["task"])

    def task(self, task_id: str, wait: float = 0) -> dict[str, Any]:
        """Return a task, now or after waiting up to `wait` seconds for its end."""
        answer = self.http.get(f"/tasks/{task_id}", params={"wait": wait} if wait else None)
        assert answer.status_code == 200, answer.text
        task: dict[str, Any] = answer.json()
        return task

    def newest(self, kind: Literal["task", "batch"]) -> list[str]:
        """Return the IDs of the newest tasks or batches, newest first."""
        plural = {"task": "tasks", "batch": "batches"}[kind]
        answer = self.http.get(f"/{plural}")
        assert answer.status_code == 200, answer.text
        return [each[kind] for each in answer.json()[plural]]

    def close(self) -> None:
        """Close the connections."""
        self.http.close()


def failure(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Check that an answer has this status and the shape of all failures; return its `error`."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text[:1000]}"
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["success"] is False
    error: dict[str, Any] = body["error"]
    assert isinstance(error["message"], str) and error["message"]
    assert isinstance(error["type"], str) and isinstance(error["retryable"], bool)
    assert "Traceback" not in answer.text
    return error


class Service(BackgroundService):
    """A service on one machine or several; a context manager that can be restarted."""

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        """Write config.env to `folder`, which also gets logs and data.

        The path must be short, because a Unix socket is in it.
        """
        self.folder = folder
        self.data = folder / "data"
        self.config = write_config(folder, {**settings, "DATA_DIR": self.data})
        self.ports: list[int] = []
        """The ports of the API processes."""
        self._exit_stack = contextlib.ExitStack()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit_stack.close()
        super().__exit__(kind, error, trace)

    @property
    def settings(self) -> Settings:
        """The settings of its config.env."""
        return load_settings(self.config, {})

    def caller(self, token: str = "", api: int = 0) -> Caller:
        """Create a caller of one of the API processes; it is closed with the service."""
        caller = Caller(f"http://{HOST}:{self.ports[api]}", token, self.is_disturbed)
        self._exit_stack.callback(caller.close)
        return caller

    def is_disturbed(self) -> bool:
        """Return True while a test of something else must repeat requests that are refused."""
        return False

    def log_in(self, account: Account, api: int = 0) -> Caller:
        """Log in and return a caller with a new token."""
        answer = self.caller(api=api).login(account.name, account.password)
        assert answer.status_code == 200, answer.text
        return self.caller(answer.json()["output"]["token"], api)

    def redis(self) -> redis.Redis:
        """Create a client of its Redis; it is closed with the service."""
        client = connect(self.settings.redis_url)
        self._exit_stack.callback(client.close)
        return client

    def log(self) -> str:
        """Return the output of all its processes so far."""
        return "".join(log.read_text(errors="replace") for log in self.folder.rglob("*.log"))

    def _run(self, command: Sequence[str], log: str, **environ: str) -> Process:
        return Process(command, self.folder / log, ENVIRON | environ, cwd=self.folder)


class Embedded(Service):
    """`resop up`: the service on one machine, with built-in Redis and database."""

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        port = free_port()
        super().__init__(folder, {**settings, "PORT": port})
        self.ports = [port]
        self.supervisor: Process | None = None

    def start(self) -> None:
        """Start the service and wait until it reports that it is ready."""
        self.supervisor = process = self._run([*RESOP, "up"], "up.log")
        process.until(lambda: "resop is ready" in process.output(), "resop up")

    def stop(self) -> None:
        """Stop the service as Ctrl-C does."""
        supervisor, self.supervisor = self.supervisor, None
        if supervisor is not None:
            supervisor.stop(signal.SIGINT)

    def kill(self, part: str) -> None:
        """Kill the child whose command line has this part; wait until it was restarted."""
        victim = self.child(part)
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        assert eventually(lambda: self.child(part) not in (None, victim))

    def kill_worker(self) -> None:
        """Kill the worker, and wait until its successor is ready."""
        ready = self.log().count(" is ready")
        self.kill("worker.main")
        assert eventually(lambda: self.log().count(" is ready") > ready)

    def child(self, part: str) -> int | None:
        """Return the process ID of the child whose command line has this part, if it runs."""
        assert self.supervisor is not None
        children = Path(f"/proc/{self.supervisor.pid}/task/{self.supervisor.pid}/children")
        for pid in children.read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if part in Path(f"/proc/{pid}/cmdline").read_text():
                    return int(pid)
        return None


class Distributed(Service):
    """Two API processes and two workers, on their own Redis and a database in MariaDB."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, object],
        database_url: str,
        worker: Sequence[str] = (*RESOP, "worker"),
        redis_server: Redis | RedisWithSentinels | None = None,
    ) -> None:
        """Prepare the service; `worker` is the command that starts a worker."""
        self.redis_server = redis_server or Redis(folder / "redis")
        connections = {
            "REDIS_URL": self.redis_server.url,
            "DATABASE_URL": database_url,
            "SECRET_KEY": secrets.token_urlsafe(48),
        }
        super().__init__(folder, {**settings, **connections})
        self.apis: list[Process] = []
        self.workers: list[Process] = []
        self._worker = worker
        self._numbers = itertools.count(1)

    def start(self) -> None:
        """Start Redis, two workers and two API processes."""
        self.redis_server.start()
        self.ports = [free_port(), free_port()]
        self.workers = [self._begin_worker(), self._begin_worker()]
        self.apis = [self._begin_api(port) for port in self.ports]
        self._until_ready()

    def stop(self) -> None:
        """Stop the workers and the API processes, then Redis."""
        running, self.workers, self.apis = [*self.workers, *self.apis], [], []
        for process in running:
            process.send(signal.SIGTERM)
        for process in running:
            process.stop()
        self.redis_server.stop()

    def is_disturbed(self) -> bool:
        """Return True while Redis fails over by itself."""
        return isinstance(self.redis_server, UnreliableRedis) and self.redis_server.disturbed

    @contextlib.contextmanager
    def additional_api(self, **environ: str) -> Iterator[int]:
        """Run an additional API process with other settings for a while; yield its number."""
        self.ports.append(free_port())
        self.apis.append(self._begin_api(self.ports[-1], **environ))
        try:
            self._until_ready()
            yield len(self.apis) - 1
        finally:
            self.apis.pop().stop()
            self.ports.pop()

    def kill_api(self, number: int) -> None:
        """Kill an API process."""
        self.apis[number].kill()

    def start_api(self, number: int) -> None:
        """Start a killed API process again, at the same address."""
        self.apis[number] = self._begin_api(self.ports[number])
        self._until_ready()

    def add_workers(self, count: int, **environ: str) -> None:
        """Start additional workers, in another environment."""
        self.workers += [self._begin_worker(**environ) for _ in range(count)]
        self._until_ready()

    def stop_workers(self, *workers: Process) -> None:
        """Stop workers (default: all) at the same time; each must exit with 0."""
        stopping = list(workers or self.workers)
        self.workers = [worker for worker in self.workers if worker not in stopping]
        for worker in stopping:
            worker.send(signal.SIGTERM)
        assert [worker.wait() for worker in stopping] == [0] * len(stopping)

    def kill_worker(self, worker: Process) -> None:
        """Kill a worker."""
        self.workers.remove(worker)
        worker.kill()

    def _begin_worker(self, **environ: str) -> Process:
        return self._run(self._worker, f"worker-{next(self._numbers)}.log", **environ)

    def _begin_api(self, port: int, **environ: str) -> Process:
        log = f"api-{next(self._numbers)}.log"
        return self._run([*RESOP, "api"], log, PORT=str(port), **environ)

    def _until_ready(self) -> None:
        for worker in self.workers:
            worker.until(lambda output=worker.output: " is ready" in output(), "resop worker")  # type: ignore[misc]
        for process, port in zip(self.apis, self.ports, strict=True):
            process.until(lambda port=port: _is_ready(port), "resop api")  # type: ignore[misc]


def _is_ready(port: int) -> bool:
    with contextlib.suppress(httpx.TransportError):
        address = f"http://{HOST}:{port}/health/ready"
        return (
            httpx.get(address, timeout=PROCESS_TIMEOUT_SECONDS, trust_env=False).status_code == 200
        )
    return False
