"""`python -m bench.profile [PART …]`: show where the time and memory of a service go.

command: the phases of one waiting command, and processor time with one and with many callers
steps:   the same for an operation of ten steps
file:    processor time of a large file up and down, beside OpenSSH's sftp
memory:  memory of an API process, from the interpreter to the idle service
slurm:   the phases of a job array; processor time of separate submissions as a batch, beside
         xargs (--testbed FOLDER, as root; otherwise skipped)

Phases are medians over all requests of one caller. Processor time is given for each process of the
service and for the whole machine, whose remaining part is the client's and the login node's.
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

from bench import phases
from bench.command_line import create_parser, parse_options, working_folder
from bench.commands import run_commands
from bench.files import TransferClients
from bench.load import HttpClient, post_request
from bench.site import MeasuredService, machine_cpu_seconds, start_site
from bench.slurm import (
    SWEEP_PATH,
    array_options,
    batch_benchmark,
    cancel_jobs,
    connect_to_login_node,
    load_testbed,
    start_testbed_service,
    xargs_benchmark,
)

WARMUP_CALLS = 50
ARRAYS = 20
"""Arrays to submit: few, because Slurm keeps all their jobs."""


class ProcessorTime:
    """Processor time of the service and of the machine since this object was created."""

    def __init__(self, service: MeasuredService) -> None:
        self._service = service
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        return {**self._service.cpu_seconds(), "the whole machine": machine_cpu_seconds()}

    def print_per_item(self, label: str, count: float) -> None:
        """Print the processor time since the start, divided by `count`."""
        now = self._now()
        text = ", ".join(
            f"{name} {(now[name] - before) / count:.2f}" for name, before in self._before.items()
        )
        print(f"processor {label}: {text}", flush=True)


def _profile(
    service: MeasuredService,
    path: str,
    body: bytes,
    marks_folder: Path,
    count: int,
    warmup: int = WARMUP_CALLS,
) -> None:
    """Print the phases of a request, and its processor time."""
    request = post_request(path, service.token, body)
    client = HttpClient(service.port, request, b'"success":true')
    asyncio.run(phases.make_calls(client, warmup))
    processor_time = ProcessorTime(service)
    marks = asyncio.run(phases.make_calls(client, count))
    print(f"\n{path}, one caller, {count} requests")
    all_marks = [*marks, *phases.service_marks(service, marks_folder)]
    phases.print_phases(phases.phase_times(all_marks))
    processor_time.print_per_item("milliseconds per request", count / 1e3)


def command(options: argparse.Namespace, folder: Path) -> None:
    """Profile one command, by one and by many callers."""
    marks_folder = folder / "marks"
    with start_site(folder, **phases.trace_environment(marks_folder)) as site:
        _profile(site, "/utils/cmd/id", b"{}", marks_folder, options.calls)
        processor_time = ProcessorTime(site)
        asyncio.run(run_commands(site, options.callers, options.calls))
        print(f"\n{options.callers} callers, {options.calls} requests")
        processor_time.print_per_item("milliseconds per request", options.calls / 1e3)


def steps(options: argparse.Namespace, folder: Path) -> None:
    """Profile an operation of ten steps."""
    marks_folder = folder / "marks"
    with start_site(folder, **phases.trace_environment(marks_folder)) as site:
        _profile(site, "/measured/opn/ten_steps", b"{}", marks_folder, options.calls)


def file(options: argparse.Namespace, folder: Path) -> None:
    """Measure the processor time of a large file, beside sftp."""
    with start_site(folder) as site:
        clients = TransferClients(site, folder, options.file << 20, small_files=0)
        transfers: dict[str, Callable[[], None]] = {
            "up": clients.upload,
            "up by sftp": clients.upload_by_sftp,
            "down": clients.download,
            "down by sftp": clients.download_by_sftp,
        }
        for transfer in transfers.values():
            transfer()
        print(f"\na file of {options.file} MiB")
        for name, transfer in transfers.items():
            processor_time, began = ProcessorTime(site), time.perf_counter()
            transfer()
            processor_time.print_per_item(f"seconds {name}", 1)
            print(f"          elapsed {time.perf_counter() - began:.2f} s")


def memory(options: argparse.Namespace, folder: Path) -> None:
    """Measure the memory of an API process, stage by stage."""
    with start_site(folder) as site:
        idle = site.memory()["api.main"]
        command = [sys.executable, "-m", "bench.api_memory"]
        done = subprocess.run(command, env=dict(site.environ), capture_output=True, check=True)
    print("\nan API process, resident MiB")
    print(done.stdout.decode(), end="")
    print(f"{idle:>8.1f}  when it serves: with database, Redis, threads, the event loop")


def slurm(options: argparse.Namespace, folder: Path) -> None:
    """Profile a job array, and separate submissions."""
    testbed, marks_folder, jobs = load_testbed(options.testbed), folder / "marks", options.jobs

    async def separate(service: MeasuredService) -> None:
        async with connect_to_login_node(testbed) as node:
            await cancel_jobs(node)
            benchmarks = {
                "batch": batch_benchmark(service, jobs),
                "xargs": xargs_benchmark(node, jobs),
            }
            for name, benchmark in benchmarks.items():
                processor_time = ProcessorTime(service)
                measurement = await benchmark()
                processor_time.print_per_item(f"milliseconds per job by {name}", jobs / 1e3)
                print(f"          {measurement.rate:.0f}/s")
                await cancel_jobs(node)

    environ = phases.trace_environment(marks_folder)
    with start_testbed_service(testbed, folder, **environ) as service:
        body = json.dumps(array_options(jobs)).encode()
        _profile(service, SWEEP_PATH, body, marks_folder, ARRAYS, warmup=3)
        print(f"\n{jobs} separate submissions")
        asyncio.run(separate(service))


PARTS: dict[str, Callable[[argparse.Namespace, Path], None]] = {
    part.__name__: part for part in (command, steps, file, memory, slurm)
}


def main() -> None:
    """Run the profiles and print them."""
    parser = create_parser("bench.profile", __doc__, PARTS)
    parser.add_argument(
        "-c", "--callers", type=int, default=32, help="callers, for the processor time (32)"
    )
    options = parse_options(parser, PARTS)
    for part in options.parts:
        with working_folder() as folder:
            PARTS[part](options, folder)


if __name__ == "__main__":
    main()
