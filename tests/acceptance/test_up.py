"""`resop up`: ready with nothing but Python, the same after a second start, gone after Ctrl-C."""

import contextlib
import os
import re
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.service import ENVIRON, RESOP, Caller, Embedded, run_resop, write_config
from tests.support.services import HOST, Process, eventually, free_port

DEMO = [*RESOP, "up", "--demo"]

Started = set[tuple[int, str]]
"""Processes: (id, start time), since an id is used again."""


def descendants(pid: int) -> Started:
    """The processes that one has started, and theirs."""
    found: Started = set()
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


def still_run(processes: Started) -> set[int]:
    return {pid for pid, start in processes if start and started_at(pid) == start}


def new_home(folder: Path, **settings: object) -> Path:
    """A new folder to start in."""
    home = Path(tempfile.mkdtemp(dir=folder))
    write_config(home, settings)
    return home


@contextlib.contextmanager
def demo(home: Path) -> Iterator[Process]:
    """`resop up --demo` in a folder; ended by Ctrl-C if it has not ended before."""
    process = Process(DEMO, home / "up.log", ENVIRON, cwd=home)
    try:
        yield process
    finally:
        process.stop(signal.SIGINT)


@dataclass
class Shown:
    """What a newcomer has seen of the first start, and did with it."""

    home: Path
    address: str
    said: str
    token: str
    task: dict[str, Any]
    tasks: list[str]
    started: Started
    exit_code: int


def listed(caller: Caller) -> list[str]:
    return [each["task"] for each in caller.http.get("/tasks").json()["tasks"]]


@pytest.fixture(scope="module")
def shown(folder: Path) -> Shown:
    """A first start, with the tour, one task more, and Ctrl-C."""
    port = free_port()
    home, address = new_home(folder, PORT=port), f"http://{HOST}:{port}"
    with demo(home) as process:
        process.until(lambda: "Ctrl-C ends the service" in process.said(), "the tour")
        found = re.search(r"export TOKEN=(\S+)", process.said())
        assert found is not None
        with contextlib.closing(Caller(address, found[1])) as caller:
            task = caller.run("echo kept >file; cat file").json()
            tasks = listed(caller)
        started = descendants(process.pid)
        exit_code = process.stop(signal.SIGINT)
        return Shown(home, address, process.said(), found[1], task, tasks, started, exit_code)


def test_demo_shows_the_main_job_done_once(shown: Shown) -> None:
    assert f"export RESOP={shown.address} PASSWORD=" in shown.said
    assert shown.said.count("curl -s ") == 4
    assert '"success": true' in shown.said and '"state": "succeeded"' in shown.said
    assert shown.task["output"]["stdout"] == "kept\n"
    assert len(shown.tasks) == 3


def test_ctrl_c_leaves_no_process(shown: Shown) -> None:
    assert shown.exit_code == 0 and "Traceback" not in shown.said
    assert len(shown.started) >= 4  # Valkey, login node, worker, API
    assert still_run(shown.started) == set()


def test_second_start_keeps_tasks_and_tokens_and_leaves_no_process_when_killed(
    shown: Shown,
) -> None:
    with demo(shown.home) as process:
        process.until(lambda: "resop is ready" in process.said(), "resop up --demo")
        with contextlib.closing(Caller(shown.address, shown.token)) as caller:
            assert set(shown.tasks) <= set(listed(caller))
            assert caller.task(shown.task["task"])["output"] == shown.task["output"]
            assert caller.run("cat file").json()["output"]["stdout"] == "kept\n"
        started = descendants(process.pid)
        assert len(still_run(started)) >= 4
        process.kill()
        assert eventually(lambda: not still_run(started), 10)


def test_ctrl_c_while_it_starts_ends_what_was_started(folder: Path) -> None:
    def interrupted(after: float) -> tuple[int, set[int], str]:
        with demo(new_home(folder, PORT=free_port())) as process:
            time.sleep(after)
            started = descendants(process.pid)
            process.send(signal.SIGINT)
            code = process.wait()
            eventually(lambda: not still_run(started), 2)
            return code, still_run(started), process.said()

    with ThreadPoolExecutor() as pool:
        for code, left, said in pool.map(interrupted, [0.6, 1.2, 1.8]):
            # Python itself, before our first line, knows no better than to end by the signal.
            assert code in (0, -signal.SIGINT, 128 + signal.SIGINT), said
            assert left == set()
            assert code != 0 or "Traceback" not in said


def test_end_of_a_part_ends_all_and_is_told_in_one_line(folder: Path) -> None:
    home = new_home(folder)
    with Embedded(home, {"CLUSTER_ADDRESS": HOST}) as service:
        second = run_resop(home, "up")
        assert second.returncode == 1
        assert second.stderr == f"resop: resop already runs on the data folder {home}/data\n"

        process = service.supervisor
        assert process is not None
        started = descendants(process.pid)
        [worker] = [pid for pid, _ in started if b"worker.main" in command_line(pid)]
        os.kill(worker, signal.SIGKILL)
        assert process.wait() == 1
        assert eventually(lambda: not still_run(started), 5)
        assert process.said().splitlines()[-1].startswith("resop: worker has ended: ")
        assert "Traceback" not in process.said()


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


NO_CLUSTER = "no cluster is configured: set CLUSTER_ADDRESS in config.env"
EXAMPLE_KEY = "change-me-" * 5
REFUSALS = [
    ("up", "PORT=3000\n", NO_CLUSTER),
    ("api", "PORT=3000\n", NO_CLUSTER),
    ("worker", "PORT=3000\n", NO_CLUSTER),
    ("up --demo", "\n\nPROT=3000\n", "config.env:3: unknown setting PROT; did you mean PORT?"),
    ("api", "\n\nPROT=3000\n", "config.env:3: unknown setting PROT; did you mean PORT?"),
    ("worker", "\n\nPROT=3000\n", "config.env:3: unknown setting PROT; did you mean PORT?"),
    ("up --demo", "PORT=3000\nPORT\n", "config.env:2: not of the form KEY=value"),
    ("up --demo", "PORT=none\n", "config.env:1: PORT: "),
    (
        "up --demo",
        "PORT=1\n#\nPORT=2\n",
        "config.env:3: PORT is set twice; the first time in line 1",
    ),
    ("up --demo", f"SECRET_KEY={EXAMPLE_KEY}\n", "config.env:1: SECRET_KEY is an example"),
    ("up --demo", "REDIS_URL=redis://127.0.0.1:1/0\n", "SECRET_KEY is needed when REDIS_URL is"),
    ("up --demo", "ENABLE_HTTPS=yes\n", "ENABLE_HTTPS needs SSL_PRIVATE_KEY"),
    ("up --demo", "PORT={taken}\n", "port {taken} on 127.0.0.1 cannot be used (Address already in"),
]


@pytest.fixture(scope="module")
def refusals(folder: Path) -> dict[tuple[str, str], str]:
    """What each of REFUSALS says on standard error; several are run at once."""

    def refused(command: str, text: str) -> str:
        home = new_home(folder)
        (home / "config.env").write_text(text)
        done = run_resop(home, *command.split())
        assert (done.returncode, done.stdout) == (1, ""), done.stdout + done.stderr
        return done.stderr

    with socket.create_server((HOST, free_port())) as taken, ThreadPoolExecutor(4) as pool:
        port = str(taken.getsockname()[1])
        waiting = {
            (command, text): pool.submit(refused, command, text.replace("{taken}", port))
            for command, text, _ in REFUSALS
        }
        return {case: each.result().replace(port, "{taken}") for case, each in waiting.items()}


@pytest.mark.parametrize(("command", "text", "said"), REFUSALS)
def test_what_cannot_start_says_why_in_one_line(
    refusals: dict[tuple[str, str], str], command: str, text: str, said: str
) -> None:
    [line] = refusals[command, text].splitlines()
    assert line.startswith("resop: ") and said in line
    assert EXAMPLE_KEY not in line  # a secret is not shown, however bad
