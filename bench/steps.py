"""`python -m bench.steps`: run one step over the runner and over exec channels, without service.

The bare asyncssh loop of `python -m bench` is measured in the same run, in turn. Trust the ratios
to it; the absolute figures only describe this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncssh
import uvloop

from bench.bare_loop import run_bare_loop
from bench.load import Measurement, closed_loop
from bench.site import PASSWORD, USER
from resop.ssh.session import Session
from resop.steps.step import step_request
from tests.support.openssh import Account, OpenSSH

STEP = step_request(["id"], None, None)

CallersBenchmark = Callable[[int, int], Awaitable[Measurement]]
"""A benchmark of a number of callers and a number of calls."""


async def run_steps(session: Session, callers: int, calls: int) -> Measurement:
    """Run the step `calls` times over a session."""

    async def call() -> bool:
        done = await session.run(STEP, 60)
        return done.exit_code == 0 and f"({USER})".encode() in done.stdout

    return await closed_loop([call] * callers, calls)


@contextlib.asynccontextmanager
async def connect_benchmarks(ssh: OpenSSH) -> AsyncIterator[dict[str, CallersBenchmark]]:
    """Connect and warm up the benchmarks to compare; yield them by name, the baseline first."""

    async def connect() -> asyncssh.SSHClientConnection:
        return await ssh.login(USER)

    bare, runner, channels = await connect(), Session(connect), Session(connect, runner=False)
    benchmarks: dict[str, CallersBenchmark] = {
        "bare loop": lambda callers, calls: run_bare_loop(bare, callers, calls),
        "exec channels": lambda callers, calls: run_steps(channels, callers, calls),
        "runner": lambda callers, calls: run_steps(runner, callers, calls),
    }
    for benchmark in benchmarks.values():
        await benchmark(4, 20)
    yield benchmarks
    for session in (runner, channels):
        await session.close()
    bare.close()


async def measure_all(caller_counts: list[int], calls: int, rounds: int) -> None:
    """Run every benchmark with every number of callers, in turn, and print the medians."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        OpenSSH(Path(folder), [Account(USER, PASSWORD)]) as ssh,
    ):
        async with connect_benchmarks(ssh) as benchmarks:
            for callers in caller_counts:
                measurements: dict[str, list[Measurement]] = {name: [] for name in benchmarks}
                for _ in range(rounds):
                    for name, benchmark in benchmarks.items():
                        measurements[name].append(await benchmark(callers, calls))
                print_measurements(callers, measurements)


def print_measurements(callers: int, measurements: dict[str, list[Measurement]]) -> None:
    """Print one line for each benchmark, with the ratio of its rate to the baseline's."""
    baseline = next(iter(measurements.values()))
    for name, rounds in measurements.items():
        ratios = [each.rate / base.rate for each, base in zip(rounds, baseline, strict=True)]
        figures = [
            statistics.median(each.rate for each in rounds),
            statistics.median(each.percentile(50) for each in rounds),
            statistics.median(each.percentile(99) for each in rounds),
            statistics.median(ratios),
        ]
        failed = sum(each.failed for each in rounds)
        text = "{:>7.0f}/s  p50 {:>6.1f} ms  p99 {:>6.1f} ms  {:.2f} times".format(*figures)
        print(f"callers {callers:>4}  {name:<14}{text}  failed {failed}", flush=True)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="python -m bench.steps", description=__doc__)
    parser.add_argument("-c", "--callers", default="1,8,32", help="numbers of callers")
    parser.add_argument("-n", "--calls", type=int, default=400, help="calls per point")
    parser.add_argument("-r", "--rounds", type=int, default=3)
    arguments = parser.parse_args()
    caller_counts = [int(number) for number in arguments.callers.split(",")]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(measure_all(caller_counts, arguments.calls, arguments.rounds))


if __name__ == "__main__":
    main()
