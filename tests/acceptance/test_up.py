"""`resop up`: ready with nothing but Python, the same after a second start, gone after Ctrl-C."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.service import ENVIRON, RESOP, Caller, Embedded, write_config
from tests.support.services import HOST, Process, eventually, free_port


@pytest.fixture
def home(folder: Path) -> Path:
    """An empty folder to start in."""
    return Path(tempfile.mkdtemp(dir=folder))


def descendants(pid: int) -> set[tuple[int, str]]:
    """The processes that one has started, and theirs: (id, start time)."""
    found = set()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found |= {(int(child), started_at(int(child))), *descendants(int(child))}
    return found


def started_at(pid: int) -> str:
    """When a process started; empty when it is gone (or a zombie, which runs nothing)."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return fields[18] if state != "Z" else ""


def still_run(processes: set[tuple[int, str]]) -> set[int]:
    return {pid for pid, start in processes if start and started_at(pid) == start}


class Demo:
    """`resop up --demo` in a folder, started and ended several times."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        write_config(home, {"PORT": self.port, "DEMO_PASSWORD": "a demo password"})

    @contextlib.contextmanager
    def running(self) -> Iterator[Process]:
        command = [*RESOP, "up", "--demo"]
        process = Process(command, self.home / "up.log", ENVIRON, cwd=self.home)
        try:
            yield process
        finally:
            process.stop(signal.SIGINT)

    @contextlib.contextmanager
    def caller(self, token: str) -> Iterator[Caller]:
        with contextlib.closing(Caller(f"http://{HOST}:{self.port}", token)) as caller:
            yield caller


def ready(process: Process) -> None:
    process.until(lambda: "resop is ready" in process.said(), "resop up --demo")


def test_demo_shows_the_main_job_and_a_second_start_keeps_tasks_and_tokens(home: Path) -> None:
    demo = Demo(home)
    with demo.running() as process:
        process.until(lambda: "Ctrl-C ends the service" in process.said(), "the tour")
        said = process.said()
        found = re.search(r"export TOKEN=(\S+)", said)
        assert found and f"export RESOP=http://127.0.0.1:{demo.port} " in said
        assert said.count("curl -s ") == 4 and '"success": true' in said
        assert '"state": "succeeded"' in said
        with demo.caller(found[1]) as caller:
            task = caller.run("echo kept >file; cat file").json()
            tasks = [each["task"] for each in caller.http.get("/tasks").json()["tasks"]]
        started = descendants(process.pid)
        assert len(started) >= 4  # Valkey, login node, worker, API
        assert process.stop(signal.SIGINT) == 0
        assert still_run(started) == set()
        assert "Traceback" not in process.said()

    with demo.running() as process:
        ready(process)
        with demo.caller(found[1]) as caller:
            assert caller.task(task["task"])["output"] == task["output"]
            listed = [each["task"] for each in caller.http.get("/tasks").json()["tasks"]]
            assert listed == tasks and len(tasks) == 3
            assert caller.run("cat file").json()["output"]["stdout"] == "kept\n"


def test_end_of_a_part_ends_all_and_is_told_in_one_line(home: Path) -> None:
    with Embedded(home, {"CLUSTER_ADDRESS": HOST}) as service:
        process = service.supervisor
        assert process is not None
        started = descendants(process.pid)
        [worker] = [pid for pid, _ in started if b"worker.main" in cmdline(pid)]
        os.kill(worker, signal.SIGKILL)
        assert process.wait() == 1
        assert eventually(lambda: not still_run(started), 5)
        last = process.said().splitlines()[-1]
        assert last.startswith("resop: worker has ended: ") and "Traceback" not in process.said()


def test_killed_supervisor_leaves_no_process_behind(home: Path) -> None:
    with Demo(home).running() as process:
        ready(process)
        started = descendants(process.pid)
        assert len(still_run(started)) >= 4
        process.kill()
        assert eventually(lambda: not still_run(started), 10)


@pytest.mark.parametrize("after", [0.5, 1.0, 1.6])
def test_ctrl_c_while_it_starts_ends_what_was_started(home: Path, after: float) -> None:
    with Demo(home).running() as process:
        time.sleep(after)
        started = descendants(process.pid)
        process.send(signal.SIGINT)
        assert process.wait() in (0, -signal.SIGINT)
        assert eventually(lambda: not still_run(started), 1)
        if process.exit_code == 0:
            assert "Traceback" not in process.said()


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def refused(home: Path, *words: str) -> str:
    """What `resop WORDS` says when it does not start: one line, and exit code 1."""
    done = subprocess.run(
        [*RESOP, *words],
        cwd=home,
        env=ENVIRON,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("resop: ")
    return line


def test_port_in_use_is_one_line(home: Path) -> None:
    with socket.create_server((HOST, free_port())) as taken:
        port = taken.getsockname()[1]
        write_config(home, {"PORT": port})
        line = refused(home, "up", "--demo")
    assert line.startswith(
        f"resop: port {port} on 127.0.0.1 cannot be used (Address already in use)"
    )


def test_missing_cluster_is_one_line(home: Path) -> None:
    write_config(home, {"PORT": free_port()})
    with ThreadPoolExecutor() as pool:
        lines = list(pool.map(lambda command: refused(home, command), ["up", "api", "worker"]))
    assert lines == ["resop: no cluster is configured: set CLUSTER_ADDRESS in config.env"] * 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n\nPROT=3000\n", "config.env:3: unknown setting PROT; did you mean PORT?"),
        ("PORT=3000\nPORT\n", "config.env:2: not of the form KEY=value"),
        ("PORT=none\n", "config.env:1: PORT: "),
        ("PORT=1\n# x\nPORT=2\n", "config.env:3: PORT is set twice; the first time in line 1"),
        ("SECRET_KEY=change-me-change-me-change-me-change\n", "SECRET_KEY is an example"),
        ("REDIS_URL=redis://127.0.0.1:1/0\n", "SECRET_KEY is needed when REDIS_URL is set"),
        ("ENABLE_HTTPS=yes\n", "ENABLE_HTTPS needs SSL_PRIVATE_KEY"),
    ],
)
def test_broken_config_is_one_line_that_names_the_place(home: Path, text: str, said: str) -> None:
    (home / "config.env").write_text(text)
    line = refused(home, "up", "--demo")
    assert said in line
    assert "change-me" not in line  # a secret is not shown, however bad


def test_second_service_on_the_same_data_is_refused_in_one_line(home: Path) -> None:
    demo = Demo(home)
    with demo.running() as process:
        assert eventually(lambda: (home / "data" / "lock").exists(), 10)
        assert eventually(lambda: descendants(process.pid), 10)
        assert "already runs on the data folder data" in refused(home, "up", "--demo")
