"""Measures the way of one request through a running service, for scripts/structure.py.

The service is `resop up --demo` of the checkout's own .venv, in a scratch folder. Its API and its
worker record every call of a function of ours (structure_trace/sitecustomize.py) while requests
are sent one by one; each figure is the median over these.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

TRACE = Path(__file__).with_name("structure_trace")
PROCESSES = ("api.main", "worker.main")
WARM_UP = 5
REQUESTS = 15
SETTLE_SECONDS = 0.4
"""After an answer: what is still written or published belongs to the request."""
START_SECONDS = 60
MARKED = {"/utils/cmd/echo": {"input": "structure-mark"}}
MEASURED: dict[str, dict[str, str]] = {"/utils/cmd/id": {}}


class Call(NamedTuple):
    """The begin of a function of ours; `caller` is the module that called it, directly or not."""

    time: int
    process: str
    module: str
    function: str
    caller: str | None
    marked: Sequence[str]


def measure_request(root: Path, packages: Sequence[str]) -> dict[str, Any]:
    """Return the figures of a request, and the stops of one of them."""
    with tempfile.TemporaryDirectory(prefix="resop-", dir="/tmp") as name:
        folder = Path(name)
        with service(root, packages, folder) as (address, token, pids):
            send(address, token, MEASURED, WARM_UP)
            toggle(pids)
            windows = send(address, token, MEASURED, REQUESTS)
            marked = send(address, token, MARKED, REQUESTS)
            toggle(pids)
        calls = sorted(read(folder))
    requests = [[c for c in calls if begin <= c.time <= end] for begin, end in windows]
    names = {
        name
        for begin, end in marked
        for call in calls
        if begin <= call.time <= end
        for name in call.marked
    }
    stops = [list(stops_of(each)) for each in requests]
    paths = [list(map(path_in, itertools.repeat(each), PROCESSES)) for each in stops]
    typical = sorted(stops, key=len)[len(stops) // 2]
    return {
        "figures": {
            "stops (calls in a row into one module count once)": median(
                paths, lambda both: sum(map(len, both))
            ),
            "distinct modules": median(paths, lambda both: len(set(itertools.chain(*both)))),
            "returns to a module that was left": median(
                paths, lambda both: sum(len(path) - len(set(path)) for path in both)
            ),
            "calls into another module, or from outside": median(stops, len),
            "calls of functions of ours": median(requests, len),
            "names of parameters that hold an option's value": len(names),
        },
        "names": sorted(names),
        "path": [f"{c.process}: {c.caller or '-'} -> {c.module}:{c.function}" for c in typical],
    }


def median(values: Sequence[Any], figure: Callable[[Any], int]) -> int:
    """Return the median of a figure."""
    return round(statistics.median(map(figure, values)))


def stops_of(calls: Sequence[Call]) -> Iterator[Call]:
    """Yield the calls that enter a module from another one, or from outside of ours."""
    return (call for call in calls if call.module != call.caller)


def path_in(stops: Sequence[Call], process: str) -> list[str]:
    """Return the modules that a request visits in a process, none twice in a row."""
    return [name for name, _ in itertools.groupby(c.module for c in stops if c.process == process)]


# -- the service


@contextmanager
def service(
    root: Path, packages: Sequence[str], folder: Path
) -> Iterator[tuple[str, str, list[int]]]:
    """Start the service; yield its address, a token, and the ids of its API and its worker."""
    port = free_port()
    (folder / "config.env").write_text(f"PORT={port}\nDEMO_PASSWORD=structure\n")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(TRACE),
        "STRUCTURE_TRACE": str(folder),
        "STRUCTURE_ROOT": str(root),
        "STRUCTURE_PACKAGES": " ".join(packages),
    }
    with (folder / "up.log").open("w") as log:
        process = subprocess.Popen(
            [root / ".venv" / "bin" / "resop", "up", "--demo"],
            cwd=folder,
            env=environ,
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: "Ctrl-C" in (folder / "up.log").read_text(), process)
        address = f"http://127.0.0.1:{port}"
        login = {"username": "demo", "password": "structure"}
        token = str(post(address, "/auth/opn/login", login)["output"]["token"])
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        pids = [int(pid) for pid in children if module_of(pid) in PROCESSES]
        yield address, token, pids
        until(lambda: all((folder / f"{name}.json").exists() for name in PROCESSES), process)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def module_of(pid: str) -> str:
    """Return the module that a process was started with."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return words[words.index("-m") + 1] if "-m" in words else ""


def toggle(pids: Sequence[int]) -> None:
    """Let the processes begin to record, or write down what they have."""
    for pid in pids:
        os.kill(pid, signal.SIGUSR2)
    time.sleep(SETTLE_SECONDS)


def send(
    address: str, token: str, requests: dict[str, dict[str, str]], count: int
) -> list[tuple[int, int]]:
    """Send each request a number of times; return the begin and the end of each."""
    windows = []
    for path, options in list(requests.items()) * count:
        begin = time.perf_counter_ns()
        answer = post(address, path, options, token)
        if not answer["success"]:
            raise RuntimeError(f"{path}: {answer}")
        time.sleep(SETTLE_SECONDS)
        windows.append((begin, time.perf_counter_ns()))
    return windows


def read(folder: Path) -> Iterator[Call]:
    """Yield the calls that the processes have written down."""
    for name in PROCESSES:
        for at, module, function, caller, marked in json.loads(
            (folder / f"{name}.json").read_text()
        ):
            yield Call(at, name, module, function, caller, tuple(marked))


def post(
    address: str, path: str, options: dict[str, str], token: str | None = None
) -> dict[str, Any]:
    """Send a request; return the answer's JSON."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(  # noqa: S310 - our own address
        address + path, urlencode(options).encode(), headers
    )
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - our own address
        answer: dict[str, Any] = json.load(response)
    return answer


def until(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until `ready`; RuntimeError when the service ends before, or the time is up."""
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the service did not start")
        time.sleep(0.05)


def free_port() -> int:
    """Return a port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
