"""`python -m bench.heavy`: heavy work over the runner, and a small command's wait meanwhile.

One session, one OpenSSH, without the service. Every answer is compared with what it has to be; the
small command's time beside each work stands next to its time beside none, in the same run.
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
LONG = 600.0
GIVEN = random.Random(1).randbytes(50 * MIB)

Work = Callable[[Session], Awaitable[bool]]
"""Does something heavy; tells whether every answer was right."""


async def nothing(session: Session) -> bool:
    """What the others are compared with."""
    await asyncio.sleep(5)
    return True


async def endless(session: Session) -> bool:
    """1 GiB of output, of which the first MiB is kept."""
    raw = await session.run(line_step("head -c 1073741824 /dev/zero"), LONG)
    return raw.stdout == bytes(OUTPUT_LIMIT) and raw.truncated and raw.exit_code == 0


async def large_input(session: Session) -> bool:
    """50 MiB on standard input."""
    raw = await session.run(line_step("sha256sum", GIVEN), LONG)
    return raw.stdout.split()[0].decode() == hashlib.sha256(GIVEN).hexdigest()


async def binary(session: Session) -> bool:
    """50 MiB there and back, of which the first MiB is kept."""
    raw = await session.run(line_step("cat", GIVEN), LONG)
    return raw.stdout == GIVEN[:OUTPUT_LIMIT] and raw.truncated


async def short_commands(session: Session) -> bool:
    """10,000 short commands, 32 at a time."""
    numbers = iter(range(10_000))

    async def some() -> bool:
        right = True
        for number in numbers:
            done = await session.run(line_step(f"echo {number}"), LONG)
            right &= done.stdout == b"%d\n" % number
        return right

    return all(await asyncio.gather(*(some() for _ in range(32))))


async def at_once(session: Session) -> bool:
    """200 commands that run at the same time."""
    lines = [f"sleep 3; echo {number}" for number in range(200)]
    done = await asyncio.gather(*(session.run(line_step(line), LONG) for line in lines))
    return [raw.stdout for raw in done] == [b"%d\n" % number for number in range(200)]


WORKS: list[Work] = [nothing, endless, large_input, binary, short_commands, at_once]


async def beside(session: Session, work: Work) -> tuple[bool, float, list[float]]:
    """Whether a work went right, its seconds, and those of each small command meanwhile."""
    times: list[float] = []
    over = asyncio.Event()

    async def small() -> None:
        while not over.is_set():
            began = time.perf_counter()
            done = await session.run(STEP, LONG)
            times.append(time.perf_counter() - began)
            assert done.exit_code == 0
            await asyncio.sleep(0.01)

    began = time.perf_counter()
    meanwhile = asyncio.create_task(small())
    right = await work(session)
    seconds = time.perf_counter() - began
    over.set()
    await meanwhile
    return right, seconds, times


def runners() -> float:
    """Resident MiB of the largest runner on the login node."""
    found = [0]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"io.FileIO(0, closefd=False)" in (process / "cmdline").read_bytes():
                status = (process / "status").read_text().splitlines()
                found += [int(line.split()[1]) for line in status if line.startswith("VmHWM")]
    return max(found) / 1024


async def measure() -> bool:
    """Do all works and print a line for each; tell whether all went right."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        OpenSSH(Path(folder), [Account(USER, PASSWORD)]) as ssh,
    ):

        async def connect() -> asyncssh.SSHClientConnection:
            return await ssh.login(USER)

        session, all_right = Session(connect), True
        idle: float | None = None
        for work in WORKS:
            right, seconds, times = await beside(session, work)
            p50, p99 = (1000 * each for each in _percentiles(times))
            idle = idle or p99
            all_right &= right
            ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            shown = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms ({p99 / idle:.1f} times)"
            what = " ".join((work.__doc__ or "").split()).rstrip(".")
            print(
                f"{what}: {'right' if right else 'WRONG'}, {seconds:.1f} s; "
                f"small command: {shown} of {len(times)}; "
                f"most resident so far: here {ours:.0f} MiB, runner {runners():.0f} MiB",
                flush=True,
            )
        await session.close()
        return all_right


def _percentiles(times: list[float]) -> tuple[float, float]:
    return statistics.median(times), statistics.quantiles(times, n=100)[-1]


def main() -> None:
    """Measure and print; exit code 1 when an answer was wrong."""
    argparse.ArgumentParser(prog="bench.heavy", description=__doc__).parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        sys.exit(not loop.run(measure()))


if __name__ == "__main__":
    main()
