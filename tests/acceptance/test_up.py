"""`resop up`: needs only Python, keeps its data across restarts, leaves no process behind."""

import contextlib
import os
import re
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.ports import HOST, free_port
from tests.support.service import ENVIRON, RESOP, Caller, Embedded, run_resop, write_config
from tests.support.services import Process, eventually

DEMO = [*RESOP, "up", "--demo"]

Processes = set[tuple[int, str]]
"""Processes as (ID, start time), because IDs are reused."""


def descendants(pid: int) -> Processes:
    """Return all descendants of a process."""
    found: Processes = set()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found |= {(int(child), started_at(int(child))), *descendants(int(child))}
    return found


def started_at(pid: int) -> str:
    """Return the start time of a process; empty if it is gone or a zombie."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return fields[18] if state != "Z" else ""


def still_run(processes: Processes) -> set[int]:
    return {pid for pid, start in processes if start and started_at(pid) == start}


def new_home(folder: Path, **settings: object) -> Path:
    """Make a new folder with a config.env and return its path."""
    home = Path(tempfile.mkdtemp(dir=folder))
    write_config(home, settings)
    return home


@contextlib.contextmanager
def demo(home: Path) -> Iterator[Process]:
    """Run `resop up --demo` in a folder; end it with Ctrl-C unless it has ended."""
    process = Process(DEMO, home / "up.log", ENVIRON, cwd=home)
    try:
        yield process
    finally:
        process.stop(signal.SIGINT)


@dataclass
class FirstStart:
    """The results of a first start."""

    home: Path
    address: str
    output: str
    token: str
    task: dict[str, Any]
    tasks: list[str]
    started: Processes
    exit_code: int


def first_start(folder: Path) -> FirstStart:
    """Start the demo, wait for the tour, run a task, and stop with Ctrl-C."""
    port = free_port()
    home, address = new_home(folder, PORT=port, OPERATORS_PATH="site"), f"http://{HOST}:{port}"
    (home / "site/mysite").mkdir(parents=True)
    (home / "site/mysite/command.yml").write_text("- command: hostname\n")
    with demo(home) as process:
        process.until(lambda: "Press Ctrl-C" in process.output(), "the tour")
        token = process.output().partition("export TOKEN=")[2].split()[0]
        with contextlib.closing(Caller(address, token)) as caller:
            task = caller.run("echo kept >file; cat file").json()
            tasks = caller.newest("task")
        started = descendants(process.pid)
        exit_code = process.stop(signal.SIGINT)
        return FirstStart(home, address, process.output(), token, task, tasks, started, exit_code)


@dataclass
class SecondStart:
    """The data of the first start at the second one, and processes after it was killed."""

    tasks: list[str]
    task: dict[str, Any]
    answer: dict[str, Any]
    ran: set[int]
    remaining: set[int]


def second_start(first: FirstStart) -> SecondStart:
    """Start again in the same folder, then kill the supervisor."""
    with demo(first.home) as process:
        process.until(lambda: "resop is ready" in process.output(), "resop up --demo")
        with contextlib.closing(Caller(first.address, first.token)) as caller:
            tasks, task = caller.newest("task"), caller.task(first.task["task"])
            answer = caller.run("cat file").json()
        started = descendants(process.pid)
        ran = still_run(started)
        process.kill()
        eventually(lambda: not still_run(started))
        return SecondStart(tasks, task, answer, ran, still_run(started))


@dataclass
class SupervisorEnd:
    """The end of a supervisor, and its processes that still ran soon after."""

    exit_code: int
    output: str
    remaining: set[int]


@dataclass
class KilledParts:
    """A service of which each process was killed once."""

    answers: list[int]
    """The status of a request after each of them."""
    end: SupervisorEnd
    second: str
    """The output of a second service in the same folder."""


def interrupted_start(folder: Path, after: float) -> SupervisorEnd:
    """Start the demo and press Ctrl-C after the given number of seconds."""
    with demo(new_home(folder, PORT=free_port())) as process:
        time.sleep(after)
        return signal_and_wait(process, signal.SIGINT, process.pid)


def kill_parts(folder: Path) -> KilledParts:
    """Start a second service in the same folder, then kill each process of the first."""
    home = new_home(folder)
    with Embedded(home, {"CLUSTER_ADDRESS": HOST}) as service:
        second = run_resop(home, "up").stderr
        answers = []
        service.kill_worker()
        answers.append(service.caller().http.get("/health/ready").status_code)
        for part in ("valkey", "api.main"):
            service.kill(part)
            assert eventually(lambda: is_ready(service))
            answers.append(service.caller().login("alice", "x").status_code)
        process = service.supervisor
        assert process is not None
        end = signal_and_wait(process, signal.SIGINT, process.pid)
        return KilledParts(answers, end, second)


def is_ready(service: Embedded) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return service.caller().http.get("/health/ready").status_code == 200
    return False


def signal_and_wait(process: Process, number: signal.Signals, victim: int) -> SupervisorEnd:
    """Send a signal to a supervisor or one of its processes, and return how it ends."""
    started = descendants(process.pid)
    os.kill(victim, number)
    exit_code = process.wait()
    eventually(lambda: not still_run(started), 2)
    return SupervisorEnd(exit_code, process.output(), still_run(started))


def refused_start(folder: Path, command: str, text: str) -> str:
    """Run a start that fails and return its message; {used} in config.env is a port in use."""
    home = new_home(folder)
    with socket.create_server((HOST, free_port())) as server:
        port = str(server.getsockname()[1])
        (home / "config.env").write_text(text.replace("{used}", port))
        done = run_resop(home, *command.split())
    assert (done.returncode, done.stdout) == (1, ""), done.stdout + done.stderr
    return done.stderr.replace(port, "{used}")


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
    (
        "up --demo",
        f"SECRET_KEY={EXAMPLE_KEY}\n",
        "config.env:1: SECRET_KEY is not random: create one",
    ),
    ("up --demo", "PORT={used}\n", "port {used} on 127.0.0.1 cannot be used (Address already in"),
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
class BackgroundStarts:
    """The starts that run in the background."""

    first: Future[FirstStart]
    second: Future[SecondStart]
    interrupted: list[Future[SupervisorEnd]]
    killed: Future[KilledParts]
    refused: dict[tuple[str, str], Future[str]]


def begin_in_background(folder: Path, pool: Executor) -> BackgroundStarts:
    """Start all of them."""
    first = pool.submit(first_start, folder)
    return BackgroundStarts(
        first,
        pool.submit(lambda: second_start(first.result())),
        [pool.submit(interrupted_start, folder, after) for after in (0.6, 1.2, 1.8)],
        pool.submit(kill_parts, folder),
        {case[:2]: pool.submit(refused_start, folder, *case[:2]) for case in REFUSALS},
    )


@pytest.fixture
def starts(background: dict[str, BackgroundStarts]) -> BackgroundStarts:
    return background[__name__]


def test_demo_runs_the_tour_once(starts: BackgroundStarts) -> None:
    first = starts.first.result()
    assert f"export RESOP={first.address} PASSWORD=" in first.output
    assert first.output.count("curl -s ") == 4
    misnamed = first.home.resolve() / "site/mysite/command.yml"
    assert f"resop: warning: operators: {misnamed}: it is not read: " in first.output
    assert '"success": true' in first.output and '"state": "succeeded"' in first.output
    assert first.task["output"]["stdout"] == "kept\n"
    assert len(first.tasks) == 3


def test_ctrl_c_leaves_no_process(starts: BackgroundStarts) -> None:
    first = starts.first.result()
    assert first.exit_code == 0 and "Traceback" not in first.output
    assert len(first.started) >= 4  # Valkey, login node, worker, API
    assert still_run(first.started) == set()


def test_second_start_has_the_tasks_and_tokens_of_the_first(starts: BackgroundStarts) -> None:
    first, second = starts.first.result(), starts.second.result()
    assert set(first.tasks) <= set(second.tasks)
    assert second.task["output"] == first.task["output"]
    assert second.answer["output"]["stdout"] == "kept\n"


def test_killed_supervisor_leaves_no_process(starts: BackgroundStarts) -> None:
    assert len(starts.second.result().ran) >= 4
    assert starts.second.result().remaining == set()


def test_ctrl_c_during_the_start_leaves_no_process(starts: BackgroundStarts) -> None:
    for each in starts.interrupted:
        found = each.result()
        # Before our first line runs, Python itself ends by the signal.
        assert found.exit_code in (0, -signal.SIGINT, 128 + signal.SIGINT), found.output
        assert found.remaining == set()
        assert found.exit_code != 0 or "Traceback" not in found.output


def test_process_that_ends_is_restarted_and_that_is_said(starts: BackgroundStarts) -> None:
    found = starts.killed.result()
    # There is no SSH server at the address of the cluster, but whether there is was asked.
    assert found.answers == [200, 502, 502]
    for part in ("worker", "valkey", "api"):
        said = rf"^resop: {part} was ended by SIGKILL \(log: /.*; {part} is restarted in 0.5 s \(1 "
        assert re.search(said, found.end.output, re.MULTILINE), found.end.output
    assert (found.end.exit_code, found.end.remaining) == (0, set())
    assert "Traceback" not in found.end.output


def test_start_with_a_cluster_prints_the_next_steps(starts: BackgroundStarts) -> None:
    output = starts.killed.result().end.output
    assert f"in a browser, and use your account on cluster ({HOST})" in output
    assert "curl -s $RESOP/auth/opn/login -d username=NAME" in output
    assert "Press Ctrl-C to stop" in output


def test_second_service_on_the_same_data_is_refused_in_one_line(starts: BackgroundStarts) -> None:
    [line] = starts.killed.result().second.splitlines()
    assert line.startswith("resop: resop already runs on the data folder /")


@pytest.mark.parametrize(("command", "text", "output"), REFUSALS)
def test_failing_start_prints_its_reason_in_one_line(
    starts: BackgroundStarts, command: str, text: str, output: str
) -> None:
    [line] = starts.refused[command, text].result().splitlines()
    assert line.startswith("resop: ") and output in line
    assert EXAMPLE_KEY not in line  # even a bad secret is not shown
