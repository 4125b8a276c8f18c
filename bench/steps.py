"""`python -m bench.steps`: one step over the runner and over exec channels, without the service.

Beside them the bare asyncssh loop of `python -m bench`, all in one run, in turn, so that ratios
to the bare loop can be trusted where absolute figures cannot.
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

from bench.floor import floor
from bench.load import Measured, closed_loop
from bench.site import PASSWORD, USER
from resop.ssh.session import Session
from resop.steps.step import step_request
from tests.support.openssh import Account, OpenSSH

STEP = step_request(["id"], None, None)

Measure = Callable[[int, int], Awaitable[Measured]]


async def steps(session: Session, callers: int, calls: int) -> Measured:
    """The step again and again over a session."""

    async def call() -> bool:
        done = await session.run(STEP, 60)
        return done.exit_code == 0 and f"({USER})".encode() in done.stdout

    return await closed_loop([call] * callers, calls)


@contextlib.asynccontextmanager
async def ways(ssh: OpenSSH) -> AsyncIterator[dict[str, Measure]]:
    """What is compared, by name; all of it warm."""

    async def connect() -> asyncssh.SSHClientConnection:
        return await ssh.login(USER)

    bare, runner, channels = await connect(), Session(connect), Session(connect, runner=False)
    made: dict[str, Measure] = {
        "bare loop": lambda callers, calls: floor(bare, callers, calls),
        "exec channels": lambda callers, calls: steps(channels, callers, calls),
        "runner": lambda callers, calls: steps(runner, callers, calls),
    }
    for measure in made.values():
        await measure(4, 20)
    yield made
    for session in (runner, channels):
        await session.close()
    bare.close()


async def measure_all(levels: list[int], calls: int, rounds: int) -> None:
    """Measure every way at every level, in turn, and print the medians."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        OpenSSH(Path(folder), [Account(USER, PASSWORD)]) as ssh,
    ):
        async with ways(ssh) as compared:
            for level in levels:
                taken: dict[str, list[Measured]] = {name: [] for name in compared}
                for _ in range(rounds):
                    for name, measure in compared.items():
                        taken[name].append(await measure(level, calls))
                show(level, taken)


def show(level: int, taken: dict[str, list[Measured]]) -> None:
    """One line for each way, with its rate as a ratio to the first."""
    first = next(iter(taken.values()))
    for name, all_of_it in taken.items():
        ratios = [one.rate / base.rate for one, base in zip(all_of_it, first, strict=True)]
        figures = [
            statistics.median(one.rate for one in all_of_it),
            statistics.median(one.percentile(50) for one in all_of_it),
            statistics.median(one.percentile(99) for one in all_of_it),
            statistics.median(ratios),
        ]
        failed = sum(one.failed for one in all_of_it)
        shown = "{:>7.0f}/s  p50 {:>6.1f} ms  p99 {:>6.1f} ms  {:.2f} times".format(*figures)
        print(f"{level:>4} at once  {name:<14}{shown}  failed {failed}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.steps", description=__doc__)
    parser.add_argument("-c", "--callers", default="1,8,32", help="numbers of callers")
    parser.add_argument("-n", "--calls", type=int, default=400, help="calls at each point")
    parser.add_argument("-r", "--rounds", type=int, default=3)
    arguments = parser.parse_args()
    levels = [int(each) for each in arguments.callers.split(",")]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(measure_all(levels, arguments.calls, arguments.rounds))


if __name__ == "__main__":
    main()
