"""How long it takes until processes serve, and until a user's first command is answered."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import asyncssh

from bench.contest import Contest
from bench.load import Client, Measured, closed_loop, post, requests
from bench.site import Service, Site, further
from bench.table import Row, fact

READY = b" is ready"
"""In the log of a worker that takes tasks."""


def begun(here: Service, folder: Path, rounds: int) -> list[Row]:
    """Further processes of a service, one after the other, until each can be used."""
    taken = {
        "API": [_api(here) for _ in range(rounds)],
        "worker": [_worker(here, folder / f"worker-{n}.log") for n in range(rounds)],
    }
    return [
        fact(
            f"a new process: {name}",
            "none",
            {"seconds": statistics.median(each), "at least": min(each), "at most": max(each)},
        )
        for name, each in taken.items()
    ]


def _api(here: Service) -> float:
    """Until it answers."""
    began = time.perf_counter()
    with further(here, "api.main"):
        return time.perf_counter() - began


def _worker(here: Service, log: Path) -> float:
    """Until it says so."""
    began = time.perf_counter()
    with log.open("wb") as file:
        command = [sys.executable, "-P", "-m", "worker.main"]
        environ = {**here.environ, "LOG_LEVEL": "INFO"}
        process = subprocess.Popen(command, env=environ, stdout=file, stderr=file)
    try:
        while READY not in log.read_bytes():
            if process.poll() is not None:
                raise RuntimeError("the worker has ended")
            time.sleep(0.005)
        return time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(60)


def first_commands(here: Site, users: Sequence[str]) -> Contest:
    """The first command of a user who has just logged in, a user for each round."""
    tokens = [here.log_in_other(name) for name in users]
    ours, theirs = iter(tokens), iter(users)

    async def way() -> Measured:
        client = Client(here.port, post("/utils/cmd/id", next(ours), b"{}"), b"uid=")
        return await requests([client], 1)

    return Contest(
        "one user's first command, the session cold",
        "none",
        "p50",
        way,
        {"bare asyncssh login and command": lambda: _bare(here, theirs)},
    )


async def _bare(here: Site, names: Iterator[str]) -> Measured:
    async def call() -> bool:
        async with await here.ssh.login(next(names)) as connection:
            done = await connection.run("id", stdin=asyncssh.DEVNULL)
        return done.exit_status == 0

    return await closed_loop([call], 1)
