"""Slurm's actions in front of a running testbed, beside commands typed on its login node."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncssh

from bench.batch import call_api
from bench.comparison import Benchmark, Comparison
from bench.load import HttpClient, Measurement, post_request, run_clients
from bench.site import MeasuredService, start_service
from testbed.settings import settings
from testbed.site import SiteDescription

# Held, so that the jobs themselves take none of the machine's time.
JOB_SCRIPT = "#!/bin/sh\n#SBATCH --hold --time=1\ntrue\n"
SUBMITTERS = 8
"""Concurrent submitters of separate jobs."""
SWEEP_PATH, QUERY_PATH = "/slurm/opn/sweep", "/slurm/opn/nodes"


@contextlib.asynccontextmanager
async def slurm_comparisons(
    testbed: SiteDescription, folder: Path, calls: int, jobs: int
) -> AsyncIterator[list[Comparison]]:
    """Compare an array, separate submissions, and the same query by many callers."""
    with start_testbed_service(testbed, folder) as service:
        async with connect_to_login_node(testbed) as node:
            await _post_benchmark(service, "/utils/cmd/id", {}, 1, 4)()
            yield [
                _compare_array(service, node, jobs),
                *_compare_separate(service, node, jobs),
                _compare_query(service, calls),
            ]


def load_testbed(folder: Path) -> SiteDescription:
    """Load the testbed whose state is in `folder`; exit the program if there is none."""
    testbed = SiteDescription.load(folder.absolute())
    if testbed is None:
        raise SystemExit(f"no testbed in {folder}: start one with python -m testbed start")
    return testbed


@contextlib.contextmanager
def start_testbed_service(
    testbed: SiteDescription, folder: Path, **environ: str
) -> Iterator[MeasuredService]:
    """Start the service in front of a testbed, and log in one of the testbed's users."""
    user = testbed.users[0]
    with start_service(folder, settings(testbed) | environ, user.name, user.password) as service:
        yield service


@contextlib.asynccontextmanager
async def connect_to_login_node(
    testbed: SiteDescription,
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Connect the same user to the login node, and write the job script to a file there."""
    user = testbed.users[0]
    async with asyncssh.connect(
        testbed.ssh.host,
        testbed.ssh.port,
        username=user.name,
        client_keys=[str(user.key)],
        known_hosts=str(testbed.ssh.known_hosts),
        config=None,
    ) as node:
        await node.run("cat >bench.sh && chmod +x bench.sh", input=JOB_SCRIPT, check=True)
        yield node


def array_options(jobs: int) -> dict[str, Any]:
    """Return the options of a sweep of `jobs` simulations."""
    return {"script": JOB_SCRIPT, "parameters": {"N": {"start": 1, "stop": jobs}}}


def _compare_array(
    service: MeasuredService, node: asyncssh.SSHClientConnection, jobs: int
) -> Comparison:
    typed = _typed_benchmark(node, f"sbatch --array=1-{jobs} bench.sh", 1)
    return Comparison(
        f"{jobs} simulations as one array",
        "1.2 times sbatch --array on the login node",
        "p50",
        _then_cancel(node, _post_benchmark(service, SWEEP_PATH, array_options(jobs), 1, 1)),
        {"sbatch --array": _then_cancel(node, typed)},
    )


def _compare_separate(
    service: MeasuredService, node: asyncssh.SSHClientConnection, jobs: int
) -> list[Comparison]:
    typed = f"xargs -P {SUBMITTERS} sbatch"
    options = {"script": JOB_SCRIPT}
    benchmarks = {
        "as one batch": batch_benchmark(service, jobs),
        f"as {jobs} requests by {SUBMITTERS} callers": _post_benchmark(
            service, "/slurm/opn/sbatchd", options, SUBMITTERS, jobs
        ),
    }
    return [
        Comparison(
            f"{jobs} separate sbatch {name}",
            f"0.9 of the rate of {typed} on the login node",
            "rate",
            _then_cancel(node, benchmark),
            {typed: _then_cancel(node, xargs_benchmark(node, jobs))},
        )
        for name, benchmark in benchmarks.items()
    ]


def _compare_query(service: MeasuredService, calls: int) -> Comparison:
    return Comparison(
        "the same query by 32 callers",
        "one query for many callers",
        "rate",
        _post_benchmark(service, QUERY_PATH, {}, 32, calls),
        {"with ?fresh=true": _post_benchmark(service, f"{QUERY_PATH}?fresh=true", {}, 32, calls)},
    )


def _post_benchmark(
    service: MeasuredService, path: str, options: dict[str, Any], callers: int, calls: int
) -> Benchmark:
    """Return a benchmark that runs an action `calls` times, shared by the callers."""
    request = post_request(path, service.token, json.dumps(options).encode())

    async def run() -> Measurement:
        clients = [HttpClient(service.port, request, b'"success":true') for _ in range(callers)]
        return await run_clients(clients, calls)

    return run


def batch_benchmark(service: MeasuredService, jobs: int) -> Benchmark:
    """Return a benchmark that submits the jobs as one batch and waits for its end."""
    options = {"script": JOB_SCRIPT, "job_name": "bench-{{n}}"}
    body = {"options": options, "sweep": {"n": {"start": 1, "stop": jobs}}}

    def launch_and_wait() -> int:
        launched = call_api(service, service.token, "/slurm/opn/sbatchd/batch", body)
        path = f"/batches/{launched['batch']}?wait=30"
        while (batch := call_api(service, service.token, path))["state"] != "ended":
            pass
        return int(batch["counts"]["succeeded"])

    async def run() -> Measurement:
        began = time.perf_counter()
        succeeded = await asyncio.to_thread(launch_and_wait)
        seconds = time.perf_counter() - began
        return Measurement(1, seconds, [seconds / jobs] * succeeded, jobs - succeeded)

    return run


def xargs_benchmark(node: asyncssh.SSHClientConnection, jobs: int) -> Benchmark:
    """Return a benchmark that submits the jobs with xargs on the login node."""
    line = f"yes bench.sh | head -n {jobs} | xargs -P {SUBMITTERS} -n 1 sbatch"
    return _typed_benchmark(node, line, jobs)


def _typed_benchmark(node: asyncssh.SSHClientConnection, line: str, jobs: int) -> Benchmark:
    """Return a benchmark of a line typed on the login node, which submits `jobs` jobs."""

    async def run() -> Measurement:
        began = time.perf_counter()
        done = await node.run(line, stdin=asyncssh.DEVNULL)
        seconds = time.perf_counter() - began
        submitted = str(done.stdout).count("Submitted batch job")
        return Measurement(1, seconds, [seconds / jobs] * submitted, jobs - submitted)

    return run


def _then_cancel(node: asyncssh.SSHClientConnection, benchmark: Benchmark) -> Benchmark:
    """Return a benchmark that cancels the user's jobs after each run."""

    async def run() -> Measurement:
        measurement = await benchmark()
        await cancel_jobs(node)
        return measurement

    return run


async def cancel_jobs(node: asyncssh.SSHClientConnection) -> None:
    """Cancel all jobs of the user."""
    await node.run("scancel --user=$USER", check=True)
