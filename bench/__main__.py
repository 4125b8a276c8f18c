"""`python -m bench`: one remote command per request, beside a bare asyncssh loop, in one run.

Each round measures the floor and the service one after the other at every number of callers;
ratios are taken within a round, and their median and spread over the rounds are shown. Absolute
figures are this machine's: client, service and sshd share its cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncssh

from bench.load import Client, Measured, closed_loop, post, requests
from bench.site import PASSWORD, USER, Site, site

FLOOR_CHANNELS = 5
"""Exec channels at a time over one connection: above six, OpenSSH begins to refuse some."""
COMMAND = "id"


@dataclass(slots=True)
class Point:
    """All rounds at one number of callers."""

    at_once: int
    floor: list[Measured] = field(default_factory=list)
    ours: list[Measured] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Medians over the rounds; ratios are ours to the floor's."""
        pairs = list(zip(self.ours, self.floor, strict=True))
        rates = [ours.rate / floor.rate for ours, floor in pairs]
        times = [ours.percentile(50) / floor.percentile(50) for ours, floor in pairs]
        return {
            "at_once": self.at_once,
            "floor_per_s": _median([each.rate for each in self.floor]),
            "floor_p50_ms": _median([each.percentile(50) for each in self.floor]),
            "per_s": _median([each.rate for each in self.ours]),
            "p50_ms": _median([each.percentile(50) for each in self.ours]),
            "p99_ms": _median([each.percentile(99) for each in self.ours]),
            "failed": sum(each.failed for each in self.ours),
            "rate_ratio": _spread(rates),
            "p50_ratio": _spread(times),
        }


async def floor(connection: asyncssh.SSHClientConnection, callers: int, calls: int) -> Measured:
    """A bare asyncssh loop, as somebody would write it by hand."""
    free = asyncio.Semaphore(FLOOR_CHANNELS)

    async def call() -> bool:
        async with free:
            done = await connection.run(COMMAND, stdin=asyncssh.DEVNULL)
        return done.exit_status == 0 and f"({USER})" in str(done.stdout)

    return await closed_loop([call] * callers, calls)


async def ours(here: Site, callers: int, calls: int) -> Measured:
    """The same command through HTTP, token, validation, queue, worker and record."""
    request = post(f"/utils/cmd/{COMMAND}", here.token, b"{}")
    clients = [Client(here.port, request, f"({USER})".encode()) for _ in range(callers)]
    return await requests(clients, calls)


async def measure(here: Site, levels: list[int], calls: int, rounds: int) -> list[Point]:
    """Every level, floor and service in turn, `rounds` times."""
    points = [Point(level) for level in levels]
    async with asyncssh.connect(
        here.ssh.host,
        here.ssh.port,
        username=USER,
        password=PASSWORD,
        known_hosts=str(here.ssh.known_hosts),
        config=None,
        client_keys=None,
    ) as connection:
        await ours(here, 4, 20)
        await floor(connection, 4, 20)
        for _ in range(rounds):
            for point in points:
                point.floor.append(await floor(connection, point.at_once, calls))
                point.ours.append(await ours(here, point.at_once, calls))
    return points


def show(summaries: list[dict[str, Any]], memory: dict[str, float]) -> None:
    """Print the table."""
    print(f"{'':>8} | {'bare asyncssh loop':>20} | {'resop':>28} | ratio (min-max over rounds)")
    print(
        f"{'at once':>8} | {'per s':>9} {'p50 ms':>10} | {'per s':>7} {'p50 ms':>7} "
        f"{'p99 ms':>7} {'bad':>4} | {'per s':>18} {'p50':>18}"
    )
    for each in summaries:
        print(
            f"{each['at_once']:>8} | {each['floor_per_s']:>9.1f} {each['floor_p50_ms']:>10.1f} | "
            f"{each['per_s']:>7.1f} {each['p50_ms']:>7.1f} {each['p99_ms']:>7.1f} "
            f"{each['failed']:>4} | {_ratio(each['rate_ratio']):>18} "
            f"{_ratio(each['p50_ratio']):>18}"
        )
    print("resident MiB after it: " + ", ".join(f"{k} {v:.0f}" for k, v in memory.items()))


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("-c", "--callers", default="1,8,32,100", help="numbers of callers")
    parser.add_argument("-n", "--calls", type=int, default=400, help="calls at each point")
    parser.add_argument("-r", "--rounds", type=int, default=3)
    parser.add_argument("--runner", default="auto", help="REMOTE_RUNNER of the service")
    parser.add_argument("-o", "--output", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    levels = [int(each) for each in arguments.callers.split(",")]
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        site(Path(folder), arguments.runner) as here,
    ):
        points = asyncio.run(measure(here, levels, arguments.calls, arguments.rounds))
        memory = here.memory()
    summaries = [point.summary() for point in points]
    show(summaries, memory)
    if arguments.output:
        made = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "python": platform.python_version(),
            "rounds": arguments.rounds,
            "points": summaries,
            "resident_mib": memory,
        }
        arguments.output.write_text(json.dumps(made, indent=1) + "\n")


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 2)


def _spread(values: list[float]) -> list[float]:
    return [round(each, 2) for each in (statistics.median(values), min(values), max(values))]


def _ratio(spread: list[float]) -> str:
    middle, least, most = spread
    return f"{middle:.2f} ({least:.2f}-{most:.2f})"


if __name__ == "__main__":
    main()
