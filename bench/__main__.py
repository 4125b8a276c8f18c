"""`python -m bench [PART …]`: the table of our goals, all of it or these parts, in one run.

commands: one command and an operation of ten steps, beside a bare asyncssh loop and the bare runner
          (and other services with --targets FILE, bench/targets.py); memory of an idle service
files:    a large file beside OpenSSH's sftp
startup:  until new processes serve, and a new user's first command is answered
crowd:    100 users whose sessions are cold; 2,000 tasks that run at once in one worker
growth:   one and two API processes and workers
history:  pages of a long history in SQLite (and MariaDB with --mariadb)
slurm:    an array, separate submissions, a question of many, on a running testbed
          (--testbed FOLDER, as root; else it is left out)

Every round measures all ways of a work in turn; ratios are taken within a round. Absolute figures
are this machine's: all that is measured shares its cores.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path

from bench.chosen import chosen, parser_of, working_folder
from bench.commands import GOALS, command_contests
from bench.contest import compete
from bench.crowd import cold, running
from bench.files import Clients, file_contests, peak, resident
from bench.growth import grow
from bench.history import pages
from bench.model import model
from bench.site import site
from bench.slurm import running_bed, slurm_contests
from bench.startup import begun, first_commands
from bench.table import Row, fact, write
from bench.targets import read_targets
from tests.support.services import MariaDB


def commands(wanted: argparse.Namespace, folder: Path) -> list[Row]:
    """What a command takes."""
    targets = read_targets(wanted.targets) if wanted.targets else []
    with site(folder) as here:
        idle = fact(
            "an idle service, resident MiB", "API under 120, worker under 150", resident(here)
        )

        async def rounds() -> list[Row]:
            async with command_contests(here, targets, wanted.calls) as contests:
                return await compete(contests, wanted.rounds)

        rows = asyncio.run(rounds())
        # The rows of one command come first, in the order of their goals.
        ours = {n: row["ways"]["resop"]["per_s"] for n, row in zip(GOALS, rows, strict=False)}
        return [
            idle,
            *rows,
            model(ours),
            fact("after the commands, resident MiB", "none", resident(here)),
        ]


def files(wanted: argparse.Namespace, folder: Path) -> list[Row]:
    """What a file takes."""
    with site(folder) as here:
        before = resident(here)
        contests = file_contests(Clients(here, folder, wanted.file << 20, small=0), wanted.file)
        with peak(here) as most:
            rows = asyncio.run(compete(contests, wanted.rounds))
        grown = {f"{name} by MiB": most[name] - before[name] for name in most}
        reached = {f"{name} to MiB": each for name, each in most.items()}
        return [*rows, fact("meanwhile the service grew", "less than 32 MiB", grown | reached)]


def slurm(wanted: argparse.Namespace, folder: Path) -> list[Row]:
    """What Slurm's work takes."""
    bed = running_bed(wanted.testbed)

    async def rounds() -> list[Row]:
        async with slurm_contests(bed, folder, wanted.calls, wanted.jobs) as contests:
            return await compete(contests, wanted.rounds)

    return asyncio.run(rounds())


def startup(wanted: argparse.Namespace, folder: Path) -> list[Row]:
    """What comes before the first answer."""
    users = [f"new{number}" for number in range(wanted.rounds)]
    with site(folder, others=users) as here:
        first = first_commands(here, users)
        return [*begun(here, folder, wanted.rounds), *asyncio.run(compete([first], wanted.rounds))]


def crowd(wanted: argparse.Namespace, folder: Path) -> list[Row]:
    """Many users, and many tasks."""
    users = [f"user{number}" for number in range(max(1, wanted.users))]
    room = str(wanted.tasks + 100)
    limits = {"WORKER_TASKS": room, "BATCH_AT_ONCE": room, "QUEUED_TASKS": room}
    with site(folder, others=users, **limits) as here:
        return [*cold(here, users), *running(here, users[0], wanted.tasks)]


def growth(wanted: argparse.Namespace, folder: Path) -> list[Row]:
    """More processes."""
    with site(folder) as here:
        return grow(here, wanted.calls, wanted.rounds)


def history(wanted: argparse.Namespace, folder: Path) -> list[Row]:
    """A long history."""
    sizes = [int(each) for each in wanted.sizes.split(",")]
    rows = pages("SQLite", f"sqlite:///{folder}/resop.db", sizes, wanted.calls)
    if wanted.mariadb:
        with MariaDB(folder / "mariadb") as mariadb:
            rows += pages("MariaDB", mariadb.database("bench"), sizes, wanted.calls)
    return rows


PARTS: dict[str, Callable[[argparse.Namespace, Path], list[Row]]] = {
    each.__name__: each for each in (commands, files, slurm, startup, crowd, growth, history)
}


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    parser = parser_of("bench", __doc__, PARTS)
    parser.add_argument("-r", "--rounds", type=int, default=3)
    parser.add_argument("--targets", type=Path, metavar="FILE", help="other services")
    parser.add_argument("--users", type=int, default=100, help="whose sessions are cold")
    parser.add_argument("--tasks", type=int, default=2000, help="that run at once")
    parser.add_argument("--sizes", default="10000,1000000", help="tasks of the history")
    parser.add_argument("--mariadb", action="store_true", help="also in a MariaDB of its own")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows here")
    wanted = chosen(parser, PARTS)
    rows = []
    for part in wanted.parts:
        with working_folder() as folder:
            rows += PARTS[part](wanted, folder)
        if wanted.json:  # what was measured is kept, whatever becomes of the rest
            write(wanted.json, wanted.rounds, rows)


if __name__ == "__main__":
    main()
