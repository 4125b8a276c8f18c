"""`python -m bench.goals`: our speed beside bare floors, and beside other services, in one run.

One command and an operation of ten steps stand beside a bare asyncssh loop and the bare runner, a
file beside OpenSSH's sftp. `--testbed FOLDER` adds Slurm's work on a running testbed, `--targets
FILE` other services (bench/targets.py). Every round measures all ways of a work in turn; ratios are
taken within a round. Absolute figures are this machine's: all that is measured shares its cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import asyncssh

from bench.__main__ import floor, ours
from bench.contest import Contest, show
from bench.files import Clients
from bench.load import Client, Measured, closed_loop, post, requests
from bench.site import USER, Site, site
from bench.slurm import slurm_contests
from bench.steps import STEP, steps
from bench.targets import Target, read_targets
from resop.sessions import Session
from testbed.site import Site as Testbed

CALLERS = (1, 8, 32, 100, 500)
GOALS = {
    1: "p50 at most 0.6 of FirecREST's",
    8: "none",
    32: "2.5 times FirecREST's rate, and the bare loop's",
    100: "none failed; the rate of 32 at once",
    500: "none failed; the rate of 32 at once",
}


async def ten_steps(here: Site, calls: int) -> Measured:
    """An operation of ten steps, again and again."""
    request = post("/measured/opn/ten_steps", here.token, b"{}")
    return await requests([Client(here.port, request, f"({USER})".encode())], calls)


async def ten_commands(session: Session, calls: int) -> Measured:
    """Ten steps over a bare runner count as one call."""

    async def ten() -> bool:
        done = [await session.run(STEP, 60) for _ in range(10)]
        return all(each.exit_code == 0 for each in done)

    return await closed_loop([ten], calls)


@contextlib.asynccontextmanager
async def command_contests(
    here: Site, targets: Sequence[Target], calls: int
) -> AsyncIterator[list[Contest]]:
    """One command by so many callers, and ten of them in one operation."""

    async def connect() -> asyncssh.SSHClientConnection:
        return await here.ssh.login(USER)

    bare, runner = await connect(), Session(connect)

    def command(callers: int) -> Contest:
        count = max(calls, callers * 2)
        return Contest(
            f"one command, waiting, {callers} at once",
            GOALS[callers],
            "p50" if callers == 1 else "rate",
            lambda: ours(here, callers, count),
            {
                "bare asyncssh loop": lambda: floor(bare, callers, count),
                "bare runner": lambda: steps(runner, callers, count),
                **{each.name: partial(each.measure, callers, count) for each in targets},
            },
        )

    few = max(1, calls // 10)
    tens = Contest(
        "an operation of 10 steps",
        "1.5 times 10 commands on a bare runner; a fifth of 10 FirecREST requests",
        "p50",
        lambda: ten_steps(here, few),
        {
            "10 on the bare runner": lambda: ten_commands(runner, few),
            **{f"10 of {each.name}": partial(each.measure_tens, few) for each in targets},
        },
    )
    try:
        await asyncio.gather(ours(here, 4, 20), floor(bare, 4, 20), steps(runner, 4, 20))
        yield [*(command(callers) for callers in CALLERS), tens]
    finally:
        await runner.close()
        bare.close()


def file_contests(here: Site, folder: Path, mib: int) -> list[Contest]:
    """A file of so many MiB up and down; it is there on both sides before."""
    clients = Clients(here, folder, mib << 20, small=0)
    ways = {"up": (clients.our_up, clients.sftp_up), "down": (clients.our_down, clients.sftp_down)}
    for way in ways["up"]:
        way()
    return [
        Contest(
            f"a file of {mib} MiB {direction}",
            "0.8 of sftp's rate",
            "rate",
            partial(_once, ours),
            {"sftp": partial(_once, theirs)},
        )
        for direction, (ours, theirs) in ways.items()
    ]


async def _once(work: Callable[[], None]) -> Measured:
    """One call of what blocks and raises if it fails."""

    async def call() -> bool:
        await asyncio.to_thread(work)
        return True

    return await closed_loop([call], 1)


async def measure(contests: Sequence[Contest], rounds: int) -> list[dict[str, Any]]:
    """All contests, round after round; printed when all are done."""
    for _ in range(rounds):
        for contest in contests:
            await contest.round()
    summaries = [contest.summary() for contest in contests]
    for each in summaries:
        show(each)
    return summaries


async def _commands(
    here: Site, targets: Sequence[Target], calls: int, rounds: int
) -> list[dict[str, Any]]:
    async with command_contests(here, targets, calls) as contests:
        return await measure(contests, rounds)


async def _files(here: Site, folder: Path, mib: int, rounds: int) -> list[dict[str, Any]]:
    return await measure(file_contests(here, folder, mib), rounds)


async def _slurm(bed: Testbed, calls: int, jobs: int, rounds: int) -> list[dict[str, Any]]:
    async with slurm_contests(bed, calls, jobs) as contests:
        return await measure(contests, rounds)


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    parser = argparse.ArgumentParser(prog="bench.goals", description=__doc__)
    parser.add_argument("-n", "--calls", type=int, default=200, help="calls at each point")
    parser.add_argument("-r", "--rounds", type=int, default=3)
    parser.add_argument("--file", type=int, default=1024, help="MiB of the file", metavar="MIB")
    parser.add_argument("--targets", type=Path, help="other services, as bench/targets.py says")
    parser.add_argument("--testbed", type=Path, help="state of a running testbed (as root)")
    parser.add_argument("--jobs", type=int, default=1000, help="jobs of a sweep, and of a batch")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    targets = read_targets(arguments.targets) if arguments.targets else []
    bed = Testbed.load(arguments.testbed.absolute()) if arguments.testbed else None
    if arguments.testbed and bed is None:
        parser.error(f"{arguments.testbed}: no testbed has run there")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, site(Path(folder)) as here:
        idle = here.memory()
        found = asyncio.run(_commands(here, targets, arguments.calls, arguments.rounds))
        memory = here.memory()
        found += asyncio.run(_files(here, Path(folder), arguments.file, arguments.rounds))
    if bed is not None:
        found += asyncio.run(_slurm(bed, arguments.calls, arguments.jobs, arguments.rounds))
    print("\nresident MiB, idle: " + ", ".join(f"{k} {v:.0f}" for k, v in idle.items()))
    print("after the commands: " + ", ".join(f"{k} {v:.0f}" for k, v in memory.items()))
    if arguments.json:
        made = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "python": platform.python_version(),
            "rounds": arguments.rounds,
            "contests": found,
            "resident_mib": {"idle": idle, "after": memory},
        }
        arguments.json.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
