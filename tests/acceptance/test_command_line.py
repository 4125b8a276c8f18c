"""The command line of the client on the real service, also in a real terminal and with Ctrl-C."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import secrets
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path
from typing import NamedTuple

import pytest

from resop_client.cli import main
from tests.acceptance.conftest import ACCOUNTS, only_embedded
from tests.support.ports import HOST
from tests.support.service import RESOP, Service

pytestmark = only_embedded

FIONA = ACCOUNTS["fiona"]


class Ran(NamedTuple):
    """The outputs and the exit code of a command."""

    out: str
    err: str
    code: int


Run = Callable[..., Ran]


@pytest.fixture
def environ(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RESOP_TOKEN", "RESOP_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RESOP_URL", f"http://{HOST}:{service.ports[0]}")
    monkeypatch.setenv("RESOP_KEYRING", "no")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def resop(
    environ: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    def run(*words: str, stdin: str = "") -> Ran:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = main.run(words)
        return Ran(*capsys.readouterr(), code)

    done = run("login", "-u", FIONA.name, "--password-stdin", stdin=f"{FIONA.password}\n")
    assert done.code == 0 and f"as {FIONA.name}@hpc until" in done.err, done
    return run


def test_from_login_to_logout(resop: Run, tmp_path: Path) -> None:
    assert json.loads(resop("whoami", "-o", "json").out)["username"] == FIONA.name
    assert resop("sh", "echo out; echo err >&2; exit 7") == ("out\n", "err\n", 7)
    assert resop("sh", "--", "printf", "%s|", "a b", "*").out == "a b|*|"
    assert resop("sh", "--stdin", "wc -c", stdin="12345").out == "5\n"
    assert "list files and folders" in resop("actions", "utils").out
    assert resop("utils", "echo", "a  b", "*").out == "a  b *\n"
    assert resop("utils", "ls", "--dry-run", "/x").out.endswith("/x\n")
    ran = resop("utils", "cat", "/nothing")
    assert ran.code == 1 and "No such file" in ran.err and "resop tasks show" in ran.err
    ran = resop("core", "run", "--command", "true", "--no-check", "-o", "json", "-v")
    assert json.loads(ran.out)["exit_code"] == 0 and "+ curl -X POST" in ran.err
    task = resop("core", "run", "sleep 0.1; echo $USER", "--detach", "--tag", "mine").out.strip()
    assert "-- succeeded after" in resop("tasks", "watch", task).err
    assert resop("tasks", "--tag", "mine", "-o", "id").out.strip() == task
    ran = resop("batch", "run", "core:run", "-c", "echo {{X}}", "X=1..3", "--wait", "-o", "id")
    assert ran.code == 0
    rows = json.loads(resop("batch", "results", ran.out.strip(), "-o", "json").out)
    assert [each["stdout"] for each in rows] == ["1\n", "2\n", "3\n"]
    key = resop("keys", "create", "ci", "--read-only").out.strip()
    assert json.loads(resop("keys", "-o", "json").out)[0]["name"] == "ci"
    assert resop("login", "--profile", "ci", "--with-token", stdin=f"{key}\n").code == 0
    assert resop("sh", "--profile", "ci", "true").code == 4
    assert resop("api", "get", "/tasks", "-p", "limit=1", "-o", "json").out.startswith("{")
    assert resop("nodez").code == 2
    assert resop("logout").code == 0
    ran = resop("whoami")
    assert ran.code == 3 and "log in first: resop login http://" in ran.err


def test_files_go_there_and_back(resop: Run, tmp_path: Path) -> None:
    name = f"cli-{secrets.token_hex(4)}"
    content = secrets.token_bytes(100_000)
    (tmp_path / "tree" / "a b").mkdir(parents=True)
    (tmp_path / "tree" / "a b" / "x.bin").write_bytes(content)
    (tmp_path / "tree" / "empty").write_bytes(b"")
    assert resop("mkdir", "-p", f"{name}/deep").code == 0
    (tmp_path / "tree" / "no" / "file").mkdir(parents=True)
    assert resop("cp", "tree", f":{name}/").code == 2  # a folder: -r
    assert resop("cp", "-r", "tree", f":{name}/") == ("", "", 0)
    assert json.loads(resop("ls", f":{name}", "-o", "json").out)[1]["name"] == "tree"
    assert "x.bin" in resop("ls", f"{name}/tree/a b").out
    assert resop("cp", "-r", f":{name}/tree", "back", "--checksum").code == 0
    assert (tmp_path / "back" / "a b" / "x.bin").read_bytes() == content
    assert (tmp_path / "back" / "empty").read_bytes() == b""
    assert (tmp_path / "back" / "no" / "file").is_dir()
    assert resop("ls", f"{name}/tree/a b/x.bin").out.count("x.bin") == 1
    (tmp_path / "new").write_text("new")
    assert resop("cp", "-n", "new", f":{name}/tree/empty").code == 0
    assert resop("cat", f":{name}/tree/empty").out == ""
    assert resop("cp", "new", f":{name}/tree/empty").code == 0
    assert resop("cat", f":{name}/tree/empty").out == "new"
    assert resop("cp", f":{name}/tree/a b/*.bin", ".").code == 0
    assert (tmp_path / "x.bin").read_bytes() == content
    assert resop("mv", f"{name}/tree", f"{name}/moved").code == 0
    assert name in resop("du", name).out
    ran = resop("cp", f":{name}/tree", "nothing")
    assert ran.code == 5 and len(ran.err.splitlines()) <= 2
    assert resop("rm", "-rf", name).code == 0


def test_no_network_is_one_line(resop: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOP_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("RESOP_TOKEN", "t")
    ran = resop("nodes")
    assert ran.code == 9 and ran.err.startswith("resop: cannot reach http://127.0.0.1:1: ")


class Terminal:
    """The program in a terminal of its own."""

    def __init__(self, *words: str, columns: int = 80, **environ: str) -> None:
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        # pytest-xdist may have set a width, which would count before the terminal's.
        kept = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        self.process = subprocess.Popen(
            [sys.executable, RESOP[0], *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**kept, "TERM": "xterm-256color", **environ},
        )
        os.close(slave)
        self.text = ""

    def read(self, *, until: str = "", seconds: float = 60) -> str:
        """Read the screen, to its end or until a text appears."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (until and until in self.text):
            try:
                piece = os.read(self._master, 65536)
            except OSError:  # the program has ended
                break
            self.text += piece.decode("utf-8", "replace")
        return self.text

    def close(self) -> int:
        """Return the exit code."""
        code = self.process.wait(60)
        os.close(self._master)
        return code


@pytest.fixture
def terminals() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_one(*words: str, **settings: object) -> Terminal:
        opened.append(Terminal(*words, **settings))  # type: ignore[arg-type]
        return opened[-1]

    yield open_one
    for each in opened:
        with contextlib.suppress(ProcessLookupError):
            each.process.kill()


def test_interrupt_cancels_what_runs_on_the_cluster(
    resop: Run, terminals: Callable[..., Terminal]
) -> None:
    terminal = terminals("sh", "echo begun; sleep 60; echo never")
    terminal.read(until="begun")
    terminal.process.send_signal(signal.SIGINT)
    shown = terminal.read()
    assert terminal.close() == 12
    task = json.loads(resop("tasks", "-n", "1", "-o", "json").out)[0]
    assert task["state"] == "cancelled" and f"task {task['task']} is cancelled" in shown
    assert "never" not in shown and "Traceback" not in shown


def test_a_terminal_has_colours_a_bar_and_the_columns_that_fit(
    resop: Run, terminals: Callable[..., Terminal]
) -> None:
    tag = secrets.token_hex(4)
    resop("core", "run", f"echo {'word ' * 30}", "--tag", tag)
    resop("core", "run", "false", "--tag", tag)
    wide = terminals("tasks", "--tag", tag, columns=200).read()
    assert "\x1b[32msucceeded" in wide and "\x1b[31mfailed" in wide and "WHAT" in wide
    narrow = terminals("tasks", "--tag", tag, columns=60, NO_COLOR="1").read()
    assert "\x1b[32m" not in narrow and "WHAT" not in narrow and "not fit" in narrow
    assert all(len(line) <= 60 for line in narrow.splitlines() if "\x1b" not in line)
    words = [
        "batch",
        "run",
        "core:run",
        "-c",
        "sleep 1.2; echo {{X}}",
        "X=1..3",
        "--at-once",
        "1",
        "--wait",
    ]
    batch = terminals(*words)
    assert "/3" in batch.read() and batch.close() == 0
