"""Time until new processes are ready, and until a user's first command is answered."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import asyncssh

from bench.comparison import Comparison
from bench.load import HttpClient, Measurement, closed_loop, post_request, run_clients
from bench.site import MeasuredService, MeasuredSite, start_process
from bench.table import Row, figures_row

WORKER_READY = b" is ready"
"""Logged by a worker that can take tasks."""


def measure_startup(service: MeasuredService, folder: Path, rounds: int) -> list[Row]:
    """Start new processes of a service, one after the other, and time each until it is ready."""
    times = {
        "API": [_start_api(service) for _ in range(rounds)],
        "worker": [_start_worker(service, folder / f"worker-{n}.log") for n in range(rounds)],
    }
    return [
        figures_row(
            f"a new process: {name}",
            "none",
            {
                "seconds": statistics.median(seconds),
                "at least": min(seconds),
                "at most": max(seconds),
            },
        )
        for name, seconds in times.items()
    ]


def _start_api(service: MeasuredService) -> float:
    """Start an API process and return the seconds until it answers."""
    began = time.perf_counter()
    with start_process(service, "api.main"):
        return time.perf_counter() - began


def _start_worker(service: MeasuredService, log: Path) -> float:
    """Start a worker and return the seconds until it reports that it is ready."""
    began = time.perf_counter()
    with log.open("wb") as file:
        command = [sys.executable, "-P", "-m", "worker.main"]
        environ = {**service.environ, "LOG_LEVEL": "INFO"}
        process = subprocess.Popen(command, env=environ, stdout=file, stderr=file)
    try:
        while WORKER_READY not in log.read_bytes():
            if process.poll() is not None:
                raise RuntimeError(f"the worker ended before it was ready; its log: {log}")
            time.sleep(0.005)
        return time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(60)


def first_command_comparison(site: MeasuredSite, users: Sequence[str]) -> Comparison:
    """Compare a user's first command after login with a bare login; one user for each round."""
    tokens = iter([site.log_in_other(name) for name in users])
    names = iter(users)

    async def run_first_command() -> Measurement:
        request = post_request("/utils/cmd/id", next(tokens), b"{}")
        return await run_clients([HttpClient(site.port, request, b"uid=")], 1)

    return Comparison(
        "a user's first command, cold session",
        "none",
        "p50",
        run_first_command,
        {"bare asyncssh login and command": lambda: _log_in_and_run(site, names)},
    )


async def _log_in_and_run(site: MeasuredSite, names: Iterator[str]) -> Measurement:
    async def call() -> bool:
        async with await site.ssh.login(next(names)) as connection:
            done = await connection.run("id", stdin=asyncssh.DEVNULL)
        return done.exit_status == 0

    return await closed_loop([call], 1)
