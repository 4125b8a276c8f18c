"""`resop up`: ready with nothing but Python, the same after a second start, gone after Ctrl-C."""

import contextlib
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import HOST, free_port
from tests.support.service import ENVIRON, RESOP, Caller, Embedded, run_resop, write_config
from tests.support.services import Process, eventually

DEMO = [*RESOP, "up", "--demo"]

Started = set[tuple[int, str]]
"""Processes: (id, start time), since an id is used again."""


def descendants(pid: int) -> Started:
    """Return the child processes of a process, and their children."""
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
    """Make a folder with a config.env to start in."""
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
class First:
    """The output of the first start, and the results of its tasks."""

    home: Path
    address: str
    said: str
    token: str
    task: dict[str, Any]
    tasks: list[str]
    started: Started
    exit_code: int


def first_start(folder: Path) -> First:
    """Start the demo, run one more task after the tour, and press Ctrl-C."""
    port = free_port()
    home, address = new_home(folder, PORT=port), f"http://{HOST}:{port}"
    with demo(home) as process:
        process.until(lambda: "Press Ctrl-C" in process.output(), "the tour")
        token = process.output().partition("export TOKEN=")[2].split()[0]
        with contextlib.closing(Caller(address, token)) as caller:
            task = caller.run("echo kept >file; cat file").json()
            tasks = caller.newest("task")
        started = descendants(process.pid)
        exit_code = process.stop(signal.SIGINT)
        return First(home, address, process.output(), token, task, tasks, started, exit_code)


@dataclass
class Second:
    """The tasks that the second start still knows, and its processes before and after the kill."""

    tasks: list[str]
    task: dict[str, Any]
    answer: dict[str, Any]
    ran: set[int]
    left: set[int]


def second_start(first: First) -> Second:
    """Start again in the same folder, and kill the supervisor."""
    with demo(first.home) as process:
        process.until(lambda: "resop is ready" in process.output(), "resop up --demo")
        with contextlib.closing(Caller(first.address, first.token)) as caller:
            tasks, task = caller.newest("task"), caller.task(first.task["task"])
            answer = caller.run("cat file").json()
        started = descendants(process.pid)
        ran = still_run(started)
        process.kill()
        eventually(lambda: not still_run(started))
        return Second(tasks, task, answer, ran, still_run(started))


@dataclass
class Ended:
    """How a supervisor ended, and which of its processes still ran soon after."""

    exit_code: int
    said: str
    left: set[int]
    second: str = ""
    """The message of a second service that was started in the same folder."""


def interrupted_start(folder: Path, after: float) -> Ended:
    """Press Ctrl-C `after` seconds after the start."""
    with demo(new_home(folder, PORT=free_port())) as process:
        time.sleep(after)
        return ended(process, signal.SIGINT, process.pid)


def start_without_worker(folder: Path) -> Ended:
    """Start a second service in the same folder, then kill the worker of the first."""
    home = new_home(folder)
    with Embedded(home, {"CLUSTER_ADDRESS": HOST}) as service:
        second = run_resop(home, "up").stderr
        process = service.supervisor
        assert process is not None
        own = [pid for pid, _ in descendants(process.pid)]
        [worker] = [pid for pid in own if b"worker.main" in command_line(pid)]
        return replace(ended(process, signal.SIGKILL, worker), second=second)


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def ended(process: Process, number: signal.Signals, victim: int) -> Ended:
    """Send a signal to a supervisor or one of its children; return how the supervisor ended."""
    started = descendants(process.pid)
    os.kill(victim, number)
    exit_code = process.wait()
    eventually(lambda: not still_run(started), 2)
    return Ended(exit_code, process.output(), still_run(started))


def refused(folder: Path, command: str, text: str) -> str:
    """Return the message of a start that fails; {taken} in its config.env is a port in use."""
    home = new_home(folder)
    with socket.create_server((HOST, free_port())) as taken:
        port = str(taken.getsockname()[1])
        (home / "config.env").write_text(text.replace("{taken}", port))
        done = run_resop(home, *command.split())
    assert (done.returncode, done.stdout) == (1, ""), done.stdout + done.stderr
    return done.stderr.replace(port, "{taken}")


NO_CLUSTER = "no cluster is configured: set CLUSTER_ADDRESS in config.env"
EXAMPLE_KEY = "change-me-" * 5
REFUSALS = [
    ("up", "PORT=3000\n", NO_CLUSTER),
    ("api", "PORT=3000\n", NO_CLUSTER),
    ("worker", "PORT=3000\n", NO_CLUSTER),
    ("up --demo", "\n\nPROT=3000\n", "config.env:3: unknown setting PROT; did you mean PORT?"),
    ("up --demo", "PORT=3000\nPORT\n", "config.env:2: not of the form KEY=value"),
    ("up --demo", "PORT=none\n", "config.env:1: PORT: "),
    (
        "up --demo",
        "PORT=1\n#\nPORT=2\n",
        "config.env:3: PORT is set twice; the first time in line 1",
    ),
    ("up --demo", f"SECRET_KEY={EXAMPLE_KEY}\n", "config.env:1: SECRET_KEY is not random: create one"),
    ("up --demo", "PORT={taken}\n", "port {taken} on 127.0.0.1 cannot be used (Address already in"),
    (
        "up",
        "PORT=0\nCLUSTER_ADDRESS=login.example\nKNOWN_HOSTS=known\n",
        "KNOWN_HOSTS: there is no file known; make it with: ssh-keyscan login.example >known",
    ),
    (
        "up",
        "PORT=0\nCLUSTER_ADDRESS=127.0.0.1\nDATABASE_URL=mysql+pymysql://u:p@127.0.0.1:1/x\n",
        "resop: the database: (2003, ",
    ),
]


@dataclass
class Begun:
    """The services that start, end or fail in the background."""

    first: Future[First]
    second: Future[Second]
    interrupted: list[Future[Ended]]
    without_worker: Future[Ended]
    refused: dict[tuple[str, str], Future[str]]


def begin(folder: Path, pool: Executor) -> Begun:
    """Start all of it."""
    first = pool.submit(first_start, folder)
    return Begun(
        first,
        pool.submit(lambda: second_start(first.result())),
        [pool.submit(interrupted_start, folder, after) for after in (0.6, 1.2, 1.8)],
        pool.submit(start_without_worker, folder),
        {case[:2]: pool.submit(refused, folder, *case[:2]) for case in REFUSALS},
    )


@pytest.fixture
def here(begun: dict[str, Begun]) -> Begun:
    return begun[__name__]


def test_demo_shows_the_main_job_done_once(here: Begun) -> None:
    first = here.first.result()
    assert f"export RESOP={first.address} PASSWORD=" in first.said
    assert first.said.count("curl -s ") == 4
    assert '"success": true' in first.said and '"state": "succeeded"' in first.said
    assert first.task["output"]["stdout"] == "kept\n"
    assert len(first.tasks) == 3


def test_ctrl_c_leaves_no_process(here: Begun) -> None:
    first = here.first.result()
    assert first.exit_code == 0 and "Traceback" not in first.said
    assert len(first.started) >= 4  # Valkey, login node, worker, API
    assert still_run(first.started) == set()


def test_second_start_keeps_tasks_and_tokens(here: Begun) -> None:
    first, second = here.first.result(), here.second.result()
    assert set(first.tasks) <= set(second.tasks)
    assert second.task["output"] == first.task["output"]
    assert second.answer["output"]["stdout"] == "kept\n"


def test_killed_supervisor_leaves_no_process(here: Begun) -> None:
    assert len(here.second.result().ran) >= 4
    assert here.second.result().left == set()


def test_ctrl_c_while_it_starts_leaves_no_process(here: Begun) -> None:
    for each in here.interrupted:
        found = each.result()
        # Before our first line runs, the signal ends Python itself.
        assert found.exit_code in (0, -signal.SIGINT, 128 + signal.SIGINT), found.said
        assert found.left == set()
        assert found.exit_code != 0 or "Traceback" not in found.said


def test_end_of_a_part_ends_all_and_is_told_in_one_line(here: Begun) -> None:
    found = here.without_worker.result()
    assert (found.exit_code, found.left) == (1, set())
    assert found.said.splitlines()[-1].startswith("resop: worker was ended by SIGKILL (log: /")
    assert "Traceback" not in found.said


def test_start_with_a_cluster_says_what_to_do_next(here: Begun) -> None:
    said = here.without_worker.result().said
    assert f"in a browser, and use your account on cluster ({HOST})" in said
    assert "curl -s $RESOP/auth/opn/login -d username=NAME" in said
    assert "Press Ctrl-C to stop" in said


def test_second_service_on_the_same_data_is_refused_in_one_line(here: Begun) -> None:
    [line] = here.without_worker.result().second.splitlines()
    assert line.startswith("resop: resop already runs on the data folder /")


@pytest.mark.parametrize(("command", "text", "said"), REFUSALS)
def test_what_cannot_start_says_why_in_one_line(
    here: Begun, command: str, text: str, said: str
) -> None:
    [line] = here.refused[command, text].result().splitlines()
    assert line.startswith("resop: ") and said in line
    assert EXAMPLE_KEY not in line  # a secret is not shown, however bad
