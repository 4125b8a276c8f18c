"""The real servers behind a service on several machines: redis-server and mariadbd.

They use the configuration in deploy/, private loopback ports and temporary folders.
"""

import contextlib
import functools
import getpass
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import pymysql
import redis

from tests.support.background_service import BackgroundService
from tests.support.ports import HOST, free_port

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PROCESS_TIMEOUT_SECONDS = 90.0  # for a start or stop, which takes about 1 s on an idle machine

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@functools.cache
def reason_unavailable() -> str | None:
    """Return the reason why these servers cannot run on this machine, or None."""
    for tool in ("redis-server", "mariadbd", "mariadb-install-db"):
        if shutil.which(tool, path=_PATH) is None:
            return f"{tool} is missing: install the Debian packages redis-server and mariadb-server"
    return None


def eventually(condition: Callable[[], object], seconds: float = PROCESS_TIMEOUT_SECONDS) -> bool:
    """Return True if `condition` is true now or becomes true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Process:
    """A child process of the tests; its output goes to a file, and it ends with the tests."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environ: Mapping[str, str],
        *,
        cwd: Path,
        user: str | None = None,
    ) -> None:
        """Start the process as `user`, or as the user who runs the tests."""
        self._log = log
        with log.open("ab") as output:
            self._log_start = output.tell()
            self._popen = subprocess.Popen(
                [*_wrapper(user), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environ),
                cwd=cwd,
                start_new_session=True,  # Ctrl-C must reach only the tests, which call stop
            )
        self.pid = self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while the process runs."""
        return self._popen.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this process, not to its children."""
        self._popen.send_signal(number)

    def wait(self, seconds: float = PROCESS_TIMEOUT_SECONDS) -> int:
        """Wait for the end of the process and return its exit code."""
        return self._popen.wait(seconds)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end and return the exit code; harmless when it has ended.

        Raises RuntimeError if the process does not end; it is killed then.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.send(number)
            return self.wait()
        self.kill()
        raise RuntimeError(f"{self.pid} did not end after {number.name}: {self.output()[-2000:]}")

    def kill(self) -> None:
        """Kill the process."""
        self._popen.kill()
        self._popen.wait()

    def output(self) -> str:
        """Return the output of the process since it started."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def until(self, ready: Callable[[], bool], name: str) -> None:
        """Wait until `ready`. Raises RuntimeError with the log if that fails."""
        was_ready = False

        def is_decided() -> bool:
            nonlocal was_ready
            was_ready = ready()
            return was_ready or self.exit_code is not None

        if not eventually(is_decided) or not was_ready:
            self.kill()
            raise RuntimeError(f"{name} does not start; its log ends:\n{self.output()[-2000:]}")


class Redis(BackgroundService):
    """A redis-server with deploy/redis.conf; a context manager that can be restarted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://{HOST}:{self.port}/0"
        self._process: Process | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        where = ["--bind", HOST, "--port", str(self.port), "--dir", str(self.folder)]
        self._process = Process(
            ["redis-server", str(DEPLOY / "redis.conf"), *where],
            self.folder / "redis.log",
            {"PATH": _PATH},
            cwd=self.folder,
        )
        self._process.until(self._answers, "redis-server")

    def stop(self) -> None:
        """Stop the server; its data remains in its folder."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def client(self) -> redis.Redis:
        """Create a client; the caller must close it."""
        return redis.Redis.from_url(self.url, socket_timeout=10)

    def _answers(self) -> bool:
        with contextlib.closing(self.client()) as client, contextlib.suppress(redis.RedisError):
            return bool(client.ping())
        return False


class MariaDB(BackgroundService):
    """A mariadbd with deploy/mariadb.cnf; a context manager that can be restarted.

    If the tests run as root, it runs as the account mysql, which must be able to enter its folder.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        """Prepare the server; the path `folder` must be short, because its Unix socket is in it."""
        self.folder = folder
        self.port = free_port()
        self._options = options
        self._user = "mysql" if os.geteuid() == 0 else None
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self._install()
        return super().__enter__()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        where = [f"--socket={self._socket}", f"--port={self.port}", f"--bind-address={HOST}"]
        where += [f"--pid-file={self.folder / 'pid'}", *self._options]
        self._process = started = self._run(["mariadbd", *self._defaults, *where])
        started.until(lambda: "ready for connections" in started.output(), "mariadbd")

    def stop(self) -> None:
        """Stop the server; its data remains in its folder."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def database(self, name: str) -> str:
        """Create a database and its own user; return the value for DATABASE_URL."""
        with self.administrator() as cursor:
            cursor.execute(f"CREATE DATABASE `{name}`")
            for host in (HOST, "localhost"):  # /etc/hosts decides which of them MariaDB sees
                cursor.execute(f"CREATE USER `{name}`@`{host}` IDENTIFIED BY 'pw-{name}'")
                cursor.execute(f"GRANT ALL ON `{name}`.* TO `{name}`@`{host}`")
        return f"mysql+pymysql://{name}:pw-{name}@{HOST}:{self.port}/{name}?charset=utf8mb4"

    @contextlib.contextmanager
    def administrator(self) -> Iterator[pymysql.cursors.Cursor]:
        """Connect as the server's administrator and yield a cursor."""
        with (
            pymysql.connect(
                unix_socket=str(self._socket), user=getpass.getuser(), autocommit=True
            ) as connection,
            connection.cursor() as cursor,
        ):
            yield cursor

    @property
    def _socket(self) -> Path:
        return self.folder / "s"

    @property
    def _defaults(self) -> list[str]:
        # A copy, because the account mysql may not be able to read the source tree.
        return [f"--defaults-file={self.folder / 'my.cnf'}", f"--datadir={self.folder / 'data'}"]

    def _install(self) -> None:
        own = [self.folder, self.folder / "data", self.folder / "tmp"]
        for path in own:
            path.mkdir(parents=True, exist_ok=True)
        shutil.copy(DEPLOY / "mariadb.cnf", self.folder / "my.cnf")
        if self._user is not None:
            owner = pwd.getpwnam(self._user)
            for path in own:
                os.chown(path, owner.pw_uid, owner.pw_gid)
        administrator = [
            "--auth-root-authentication-method=socket",
            f"--auth-root-socket-user={getpass.getuser()}",
        ]
        done = self._run(["mariadb-install-db", *self._defaults, *administrator, "--skip-test-db"])
        if done.wait() != 0:
            raise RuntimeError(f"mariadb-install-db failed:\n{done.output()[-2000:]}")

    def _run(self, command: Sequence[str]) -> Process:
        log = self.folder / "mariadb.log"
        # At its start a server removes all temporary tables in TMPDIR, even another server's.
        environ = {"PATH": _PATH, "TMPDIR": str(self.folder / "tmp")}
        return Process(command, log, environ, cwd=self.folder, user=self._user)


def _wrapper(user: str | None) -> list[str]:
    """Return the command prefix that sets the user and ends the command with the tests."""
    if shutil.which("setpriv") is None:
        return []
    account = ["--reuid", user, "--regid", user, "--init-groups"] if user else []
    return ["setpriv", "--pdeathsig", "TERM", *account]
