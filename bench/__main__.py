"""`python -m bench [PART …]`: measure resop against its goals, all parts or the ones you name.

commands:    one command, and an operation of ten steps, beside a bare asyncssh loop and the bare
             runner (and other services with --targets FILE, see bench/targets.py); memory of an
             idle service
files:       a large file beside OpenSSH's sftp
startup:     time until new processes are ready, and until a new user's first command is answered
concurrency: 100 users with cold sessions; 2,000 concurrent tasks in one worker
scaling:     one and two API processes and workers
storms:      another user's requests beside attacks: half headers, large headers, event streams, …
history:     pages of a long task history in SQLite (and in MariaDB with --mariadb)
answers:     large answers of Slurm (--nodes, --queue): processor time and memory of reading them
slurm:       a job array, separate submissions, and a query by many callers, on a running testbed
             (--testbed FOLDER, as root; otherwise skipped)

Every round measures resop and all its baselines in turn, and ratios are formed within a round.
Client, service and login node share one machine, so absolute figures only describe that machine.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path

from bench.answers import measure_answers
from bench.command_line import create_parser, parse_options, working_folder
from bench.commands import GOALS, command_comparisons
from bench.comparison import run_comparisons
from bench.concurrency import measure_cold_sessions, measure_concurrent_tasks
from bench.files import TransferClients, peak_memory, resident_memory, transfer_comparisons
from bench.history import measure_pages
from bench.model import model_row
from bench.scaling import measure_scaling
from bench.site import start_site
from bench.slurm import load_testbed, slurm_comparisons
from bench.startup import first_command_comparison, measure_startup
from bench.storms import measure_storms
from bench.table import Row, figures_row, write_json
from bench.targets import read_targets
from tests.support.services import MariaDB


def commands(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Measure one command by many callers, and the memory of the service."""
    targets = read_targets(options.targets) if options.targets else []
    with start_site(folder) as site:
        idle = figures_row(
            "idle service, resident MiB", "API under 120, worker under 150", resident_memory(site)
        )

        async def compare() -> list[Row]:
            async with command_comparisons(site, targets, options.calls) as comparisons:
                return await run_comparisons(comparisons, options.rounds)

        rows = asyncio.run(compare())
        # The rows of one command come first, in the order of their goals.
        rates = {n: row["results"]["resop"]["per_s"] for n, row in zip(GOALS, rows, strict=False)}
        return [
            idle,
            *rows,
            model_row(rates),
            figures_row("after the commands, resident MiB", "none", resident_memory(site)),
        ]


def files(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Measure transfers of a large file, and the memory they take."""
    with start_site(folder) as site:
        before = resident_memory(site)
        clients = TransferClients(site, folder, options.file << 20, small_files=0)
        comparisons = transfer_comparisons(clients, options.file)
        with peak_memory(site) as peak:
            rows = asyncio.run(run_comparisons(comparisons, options.rounds))
        growth = {f"{name} by MiB": peak[name] - before[name] for name in peak}
        total = {f"{name} to MiB": mib for name, mib in peak.items()}
        return [
            *rows,
            figures_row("memory growth during transfers", "less than 32 MiB", growth | total),
        ]


def slurm(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Measure Slurm's actions on a running testbed."""
    testbed = load_testbed(options.testbed)

    async def compare() -> list[Row]:
        async with slurm_comparisons(testbed, folder, options.calls, options.jobs) as comparisons:
            return await run_comparisons(comparisons, options.rounds)

    return asyncio.run(compare())


def startup(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Measure the time until new processes are ready and first commands are answered."""
    users = [f"new{number}" for number in range(options.rounds)]
    with start_site(folder, others=users) as site:
        first = first_command_comparison(site, users)
        return [
            *measure_startup(site, folder, options.rounds),
            *asyncio.run(run_comparisons([first], options.rounds)),
        ]


def concurrency(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Measure many users with cold sessions, and many concurrent tasks."""
    users = [f"user{number}" for number in range(max(1, options.users))]
    limit = str(options.tasks + 100)
    limits = {"WORKER_TASKS": limit, "BATCH_AT_ONCE": limit, "QUEUED_TASKS": limit}
    with start_site(folder, others=users, **limits) as site:
        return [
            *measure_cold_sessions(site, users),
            *measure_concurrent_tasks(site, users[0], options.tasks),
        ]


def scaling(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Measure the same load on one and on two API processes and workers."""
    with start_site(folder) as site:
        return measure_scaling(site, options.calls, options.rounds)


def storms(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Measure the requests of a user beside attacks, with the limits as they are by default."""
    with start_site(folder, CONNECTIONS_PER_ADDRESS="", SYNC_WAIT="0") as site:
        return measure_storms(site, options.calls)


def history(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Measure pages of a long task history."""
    sizes = [int(size) for size in options.sizes.split(",")]
    rows = measure_pages("SQLite", f"sqlite:///{folder}/resop.db", sizes, options.calls)
    if options.mariadb:
        with MariaDB(folder / "mariadb") as mariadb:
            rows += measure_pages("MariaDB", mariadb.database("bench"), sizes, options.calls)
    return rows


def answers(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Measure how long reading a large cluster's nodes and queue takes, and the memory."""
    return measure_answers(options.nodes, options.queue, folder)


PARTS: dict[str, Callable[[argparse.Namespace, Path], list[Row]]] = {
    part.__name__: part
    for part in (commands, files, slurm, startup, concurrency, scaling, storms, history, answers)
}


def main() -> None:
    """Run the benchmarks, print the table, and write it as JSON if requested."""
    parser = create_parser("bench", __doc__, PARTS)
    parser.add_argument("-r", "--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--targets", type=Path, metavar="FILE", help="other services to measure")
    parser.add_argument("--users", type=int, default=100, help="users with cold sessions (100)")
    parser.add_argument("--tasks", type=int, default=2000, help="concurrent tasks (2000)")
    parser.add_argument(
        "--sizes", default="10000,1000000", help="history sizes in tasks (10000,1000000)"
    )
    parser.add_argument("--nodes", type=int, default=5000, help="nodes of large answers (5000)")
    parser.add_argument("--queue", type=int, default=50_000, help="jobs of large answers (50000)")
    parser.add_argument("--mariadb", action="store_true", help="measure history in MariaDB too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows to FILE")
    options = parse_options(parser, PARTS)
    rows = []
    for part in options.parts:
        with working_folder() as folder:
            rows += PARTS[part](options, folder)
        if options.json:  # after each part: a later failure must not lose these rows
            write_json(options.json, options.rounds, rows)


if __name__ == "__main__":
    main()
