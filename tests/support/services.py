"""The servers behind a service on many machines, real ones: redis-server and mariadbd, each with
its file of deploy/, on private loopback ports, in a throw-away folder."""

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
from types import TracebackType
from typing import Self

import pymysql
import redis

from tests.support.ports import HOST, free_port

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PATIENCE = 90.0  # seconds for a process to come up or go; takes about one on an idle machine

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@functools.cache
def reason_unavailable() -> str | None:
    """Why these servers cannot be had on this machine, or None if they can."""
    for tool in ("redis-server", "mariadbd", "mariadb-install-db"):
        if shutil.which(tool, path=_PATH) is None:
            return f"the command {tool} is missing (Debian packages redis-server, mariadb-server)"
    return None


def eventually(condition: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Whether `condition` holds now or comes true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Process:
    """A child of the tests; its output goes to a file, and it ends when the tests do."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environ: Mapping[str, str],
        *,
        cwd: Path,
        user: str | None = None,
    ) -> None:
        """Start it; as `user` where one is given, else as who runs the tests."""
        self._log = log
        with log.open("ab") as output:
            self._began_at = output.tell()
            self._popen = subprocess.Popen(
                [*_tied(user), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environ),
                cwd=cwd,
                start_new_session=True,  # Ctrl-C is for the tests, which then call stop
            )
        self.pid = self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._popen.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this process alone."""
        self._popen.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait for its end; its exit code."""
        return self._popen.wait(seconds)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, kill it if it does not; its exit code. Harmless when it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.send(number)
            return self.wait()
        self.kill()
        raise RuntimeError(f"{self.pid} did not end after {number.name}: {self.said()[-2000:]}")

    def kill(self) -> None:
        """End it without a chance to do anything about it."""
        self._popen.kill()
        self._popen.wait()

    def said(self) -> str:
        """What was written to its log since it started."""
        with self._log.open("rb") as log:
            log.seek(self._began_at)
            return log.read().decode(errors="replace")

    def until(self, ready: Callable[[], bool], what: str) -> None:
        """Wait until `ready`; RuntimeError with the log when it ends before or takes too long."""
        over = eventually(lambda: self.exit_code is not None or ready())
        if not over or not ready():
            self.kill()
            raise RuntimeError(f"{what} does not come up; its log ends:\n{self.said()[-2000:]}")


class Redis:
    """A redis-server with deploy/redis.conf; a context manager, usable again after `stop`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://{HOST}:{self.port}/0"
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Bring it up; returns when it answers."""
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
        """Shut it down; what it has stays in its folder."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def client(self) -> redis.Redis:
        """A client of its own; close it."""
        return redis.Redis.from_url(self.url, socket_timeout=10)

    def _answers(self) -> bool:
        with contextlib.closing(self.client()) as client, contextlib.suppress(redis.RedisError):
            return bool(client.ping())
        return False


class MariaDB:
    """A mariadbd with deploy/mariadb.cnf; a context manager, usable again after `stop`.

    As root it runs as the account mysql, so its folder must be one which that can enter.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` must be short: the server's unix socket stands in it."""
        self.folder = folder
        self.port = free_port()
        self._user = "mysql" if os.geteuid() == 0 else None
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self._install()
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Bring it up; returns when it answers."""
        where = [f"--socket={self._socket}", f"--port={self.port}", f"--bind-address={HOST}"]
        where += [f"--pid-file={self.folder / 'pid'}"]
        self._process = started = self._run(["mariadbd", *self._defaults, *where])
        started.until(lambda: "ready for connections" in started.said(), "mariadbd")

    def stop(self) -> None:
        """Shut it down; what it has stays in its folder."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def database(self, name: str) -> str:
        """Make a database with a user of its own; its address as DATABASE_URL takes it."""
        with self.administrator() as cursor:
            cursor.execute(f"CREATE DATABASE `{name}`")
            for host in (HOST, "localhost"):  # which one it is depends on /etc/hosts
                cursor.execute(f"CREATE USER `{name}`@`{host}` IDENTIFIED BY 'pw-{name}'")
                cursor.execute(f"GRANT ALL ON `{name}`.* TO `{name}`@`{host}`")
        return f"mysql+pymysql://{name}:pw-{name}@{HOST}:{self.port}/{name}?charset=utf8mb4"

    @contextlib.contextmanager
    def administrator(self) -> Iterator[pymysql.cursors.Cursor]:
        """A connection as the server's administrator."""
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
        # A copy, since the tree of the tests need not be readable for the account mysql.
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
            raise RuntimeError(f"mariadb-install-db failed:\n{done.said()[-2000:]}")

    def _run(self, command: Sequence[str]) -> Process:
        log = self.folder / "mariadb.log"
        # A server that starts removes every temporary table in its folder for them, another's too.
        environ = {"PATH": _PATH, "TMPDIR": str(self.folder / "tmp")}
        return Process(command, log, environ, cwd=self.folder, user=self._user)


def _tied(user: str | None) -> list[str]:
    """What a command is begun with so that it ends when the tests are killed, as that user."""
    if shutil.which("setpriv") is None:
        return []
    account = ["--reuid", user, "--regid", user, "--init-groups"] if user else []
    return ["setpriv", "--pdeathsig", "TERM", *account]
