"""`python -m bench.profile [PART …]`: what the time and the memory of a service go to.

command: each millisecond of one waiting command, and processor time with one and with many callers
steps:   the same of an operation of ten steps
file:    processor time of a large file up and down, beside OpenSSH's sftp
memory:  of an API process, from the interpreter to the idle service
slurm:   each millisecond of a job array; processor time of separate submissions as a batch, beside
         xargs (--testbed FOLDER, as root; else it is left out)

Medians of all requests of one caller; processor seconds of each process of the service, and of all
the machine, whose other part is the client's and the login node's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import parts
from bench.chosen import chosen, parser_of, working_folder
from bench.commands import ours
from bench.files import Clients
from bench.load import Client, post
from bench.site import Service, machine, site
from bench.slurm import ARRAY, array, batch, bed_service, by_xargs, login_node, running_bed, tidy

WARM = 50
"""Calls before those that count."""
ARRAYS = 20
"""Arrays that are submitted; Slurm keeps them all."""


class Spent:
    """Processor time from one moment to another."""

    def __init__(self, here: Service) -> None:
        self._here = here
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        return {**self._here.processor(), "the whole machine": machine()}

    def show(self, what: str, count: float) -> None:
        """Print what one of `count` took since this was made."""
        now = self._now()
        told = ", ".join(
            f"{name} {(now[name] - before) / count:.2f}" for name, before in self._before.items()
        )
        print(f"processor {what}: {told}", flush=True)


def _profile(
    here: Service, path: str, body: bytes, folder: Path, count: int, warm: int = WARM
) -> None:
    """Print the parts of one request, and its processor time."""
    client = Client(here.port, post(path, here.token, body), b'"success":true')
    asyncio.run(parts.calls(client, warm))
    spent = Spent(here)
    marks = asyncio.run(parts.calls(client, count))
    print(f"\n{path}, one caller, {count} requests")
    parts.show(parts.between([*marks, *parts.written(here, folder)]))
    spent.show("milliseconds of a request", count / 1e3)


def command(wanted: argparse.Namespace, folder: Path) -> None:
    """One command."""
    marked = folder / "marks"
    with site(folder, **parts.traced(marked)) as here:
        _profile(here, "/utils/cmd/id", b"{}", marked, wanted.calls)
        spent = Spent(here)
        asyncio.run(ours(here, wanted.callers, wanted.calls))
        print(f"\n{wanted.callers} callers at once, {wanted.calls} requests")
        spent.show("milliseconds of a request", wanted.calls / 1e3)


def steps(wanted: argparse.Namespace, folder: Path) -> None:
    """Ten steps."""
    marked = folder / "marks"
    with site(folder, **parts.traced(marked)) as here:
        _profile(here, "/measured/opn/ten_steps", b"{}", marked, wanted.calls)


def file(wanted: argparse.Namespace, folder: Path) -> None:
    """A large file."""
    with site(folder) as here:
        clients = Clients(here, folder, wanted.file << 20, small=0)
        ways: dict[str, Callable[[], None]] = {
            "up": clients.our_up,
            "up by sftp": clients.sftp_up,
            "down": clients.our_down,
            "down by sftp": clients.sftp_down,
        }
        for way in ways.values():
            way()
        print(f"\na file of {wanted.file} MiB")
        for name, way in ways.items():
            spent, began = Spent(here), time.perf_counter()
            way()
            spent.show(f"seconds {name}", 1)
            print(f"          it took {time.perf_counter() - began:.2f} s")


def memory(wanted: argparse.Namespace, folder: Path) -> None:
    """An idle API."""
    with site(folder) as here:
        idle = here.memory()["api.main"]
        command = [sys.executable, "-m", "bench.stages"]
        staged = subprocess.run(command, env=dict(here.environ), capture_output=True, check=True)
    print("\nan API process, resident MiB")
    print(staged.stdout.decode(), end="")
    print(f"{idle:>8.1f}  when it serves: database, Redis, threads, the event loop")


def slurm(wanted: argparse.Namespace, folder: Path) -> None:
    """An array, and separate submissions."""
    bed, marked, jobs = running_bed(wanted.testbed), folder / "marks", wanted.jobs

    async def separate(here: Service) -> None:
        async with login_node(bed) as node:
            await tidy(node)
            for name, way in {"batch": batch(here, jobs), "xargs": by_xargs(node, jobs)}.items():
                spent = Spent(here)
                measured = await way()
                spent.show(f"milliseconds of a job by {name}", jobs / 1e3)
                print(f"          {measured.rate:.0f}/s")
                await tidy(node)

    with bed_service(bed, folder, **parts.traced(marked)) as here:
        _profile(here, ARRAY, json.dumps(array(jobs)).encode(), marked, ARRAYS, warm=3)
        print(f"\n{jobs} separate submissions")
        asyncio.run(separate(here))


PARTS: dict[str, Callable[[argparse.Namespace, Path], None]] = {
    each.__name__: each for each in (command, steps, file, memory, slurm)
}


def main() -> None:
    """Measure and print."""
    parser = parser_of("bench.profile", __doc__, PARTS)
    parser.add_argument("-c", "--callers", type=int, default=32, help="for the processor time")
    wanted = chosen(parser, PARTS)
    for part in wanted.parts:
        with working_folder() as folder:
            PARTS[part](wanted, folder)


if __name__ == "__main__":
    main()
