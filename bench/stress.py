"""`python -m bench.stress`: put heavy loads on the runner, and time a small command meanwhile.

Uses one session and one OpenSSH server, without the service. Every answer is verified. The latency
of the small command during each load is compared with its latency without load, in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncssh
import uvloop

from bench.site import PASSWORD, USER
from bench.steps import STEP
from resop.limits import OUTPUT_LIMIT
from resop.ssh.session import Session
from tests.support.openssh import Account, OpenSSH
from tests.support.steps import line_step

MIB = 1 << 20
STEP_SECONDS = 600.0
"""The time limit of each step."""
INPUT = random.Random(1).randbytes(50 * MIB)

Load = Callable[[Session], Awaitable[bool]]
"""Puts a load on a session; returns True if every answer was right."""


async def no_load(session: Session) -> bool:
    """Wait five seconds while only the small command runs."""
    await asyncio.sleep(5)
    return True


async def large_output(session: Session) -> bool:
    """Print 1 GiB, of which resop keeps the first MiB."""
    result = await session.run(line_step("head -c 1073741824 /dev/zero"), STEP_SECONDS)
    return result.stdout == bytes(OUTPUT_LIMIT) and result.truncated and result.exit_code == 0


async def large_input(session: Session) -> bool:
    """Send 50 MiB on standard input."""
    result = await session.run(line_step("sha256sum", INPUT), STEP_SECONDS)
    return result.stdout.split()[0].decode() == hashlib.sha256(INPUT).hexdigest()


async def large_echo(session: Session) -> bool:
    """Send 50 MiB and print them again, of which resop keeps the first MiB."""
    result = await session.run(line_step("cat", INPUT), STEP_SECONDS)
    return result.stdout == INPUT[:OUTPUT_LIMIT] and result.truncated


async def short_commands(session: Session) -> bool:
    """Run 10,000 short commands, 32 at a time."""
    numbers = iter(range(10_000))

    async def run_some() -> bool:
        right = True
        for number in numbers:
            result = await session.run(line_step(f"echo {number}"), STEP_SECONDS)
            right &= result.stdout == b"%d\n" % number
        return right

    return all(await asyncio.gather(*(run_some() for _ in range(32))))


async def concurrent_commands(session: Session) -> bool:
    """Run 200 commands at the same time."""
    lines = [f"sleep 3; echo {number}" for number in range(200)]
    steps = (session.run(line_step(line), STEP_SECONDS) for line in lines)
    results = await asyncio.gather(*steps)
    return [result.stdout for result in results] == [b"%d\n" % number for number in range(200)]


LOADS: list[Load] = [
    no_load,
    large_output,
    large_input,
    large_echo,
    short_commands,
    concurrent_commands,
]


async def run_load(session: Session, load: Load) -> tuple[bool, float, list[float]]:
    """Run a load beside small commands; return its success, its seconds and their latencies."""
    latencies: list[float] = []
    over = asyncio.Event()

    async def run_small_commands() -> None:
        while not over.is_set():
            began = time.perf_counter()
            result = await session.run(STEP, STEP_SECONDS)
            latencies.append(time.perf_counter() - began)
            assert result.exit_code == 0
            await asyncio.sleep(0.01)

    began = time.perf_counter()
    small_commands = asyncio.create_task(run_small_commands())
    right = await load(session)
    seconds = time.perf_counter() - began
    over.set()
    await small_commands
    return right, seconds, latencies


def runner_peak_mib() -> float:
    """Return the peak resident MiB of the largest runner on the login node."""
    peaks = [0]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"io.FileIO(0, closefd=False)" in (process / "cmdline").read_bytes():
                status = (process / "status").read_text().splitlines()
                peaks += [int(line.split()[1]) for line in status if line.startswith("VmHWM")]
    return max(peaks) / 1024


async def measure() -> bool:
    """Run all loads and print a line for each; return True if every answer was right."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        OpenSSH(Path(folder), [Account(USER, PASSWORD)]) as ssh,
    ):

        async def connect() -> asyncssh.SSHClientConnection:
            return await ssh.login(USER)

        session, all_right = Session(connect), True
        idle_p99: float | None = None
        for load in LOADS:
            right, seconds, latencies = await run_load(session, load)
            p50, p99 = (1000 * each for each in _percentiles(latencies))
            idle_p99 = idle_p99 or p99
            all_right &= right
            client_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            title = " ".join((load.__doc__ or "").split()).rstrip(".")
            print(
                f"{title}: {'right' if right else 'WRONG'}, {seconds:.1f} s; "
                f"{len(latencies)} small commands: p50 {p50:.1f} ms, p99 {p99:.1f} ms "
                f"({p99 / idle_p99:.1f} times as long as without load); peak memory so far: "
                f"client {client_mib:.0f} MiB, runner {runner_peak_mib():.0f} MiB",
                flush=True,
            )
        await session.close()
        return all_right


def _percentiles(latencies: list[float]) -> tuple[float, float]:
    return statistics.median(latencies), statistics.quantiles(latencies, n=100)[-1]


def main() -> None:
    """Run the benchmark and print its lines; exit with 1 if an answer was wrong."""
    argparse.ArgumentParser(prog="python -m bench.stress", description=__doc__).parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        sys.exit(not loop.run(measure()))


if __name__ == "__main__":
    main()
