"""Slurm's work in front of a running testbed, beside what is typed on its login node."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncssh

from bench.batch import ask
from bench.contest import Contest, Way
from bench.load import Client, Measured, post, requests
from bench.site import Service, service
from testbed.settings import settings
from testbed.site import Site as Testbed

# Held: what the jobs themselves would take of the machine is not measured.
JOB = "#!/bin/sh\n#SBATCH --hold --time=1\ntrue\n"
AT_ONCE = 8
ARRAY, QUESTION = "/slurm/opn/sweep", "/slurm/opn/nodes"


@contextlib.asynccontextmanager
async def slurm_contests(
    bed: Testbed, folder: Path, calls: int, jobs: int
) -> AsyncIterator[list[Contest]]:
    """An array, so many separate submissions, and a question that many ask."""
    with bed_service(bed, folder) as here:
        async with login_node(bed) as node:
            await _posted(here, "/utils/cmd/id", {}, 1, 4)()
            yield [_array(here, node, jobs), *_separate(here, node, jobs), _question(here, calls)]


def running_bed(folder: Path) -> Testbed:
    """The testbed whose state is there; ends the program where there is none."""
    bed = Testbed.load(folder.absolute())
    if bed is None:
        raise SystemExit(f"{folder}: no testbed has run there")
    return bed


@contextlib.contextmanager
def bed_service(bed: Testbed, folder: Path, **environ: str) -> Iterator[Service]:
    """The service in front of a testbed, used by one of its users."""
    user = bed.users[0]
    with service(folder, settings(bed) | environ, user.name, user.password) as here:
        yield here


@contextlib.asynccontextmanager
async def login_node(bed: Testbed) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """The same user there, with the job as a file."""
    user = bed.users[0]
    async with asyncssh.connect(
        bed.ssh.host,
        bed.ssh.port,
        username=user.name,
        client_keys=[str(user.key)],
        known_hosts=str(bed.ssh.known_hosts),
        config=None,
    ) as node:
        await node.run("cat >bench.sh && chmod +x bench.sh", input=JOB, check=True)
        yield node


def array(jobs: int) -> dict[str, Any]:
    """Options of ARRAY for so many."""
    return {"script": JOB, "parameters": {"N": {"start": 1, "stop": jobs}}}


def _array(here: Service, node: asyncssh.SSHClientConnection, jobs: int) -> Contest:
    return Contest(
        f"{jobs} simulations as one array",
        "1.2 times sbatch --array on the login node",
        "p50",
        _tidied(node, _posted(here, ARRAY, array(jobs), 1, 1)),
        {"sbatch --array": _tidied(node, _typed(node, f"sbatch --array=1-{jobs} bench.sh", 1))},
    )


def _separate(here: Service, node: asyncssh.SSHClientConnection, jobs: int) -> list[Contest]:
    typed = f"xargs -P {AT_ONCE} sbatch"
    ways = {
        "one batch": batch(here, jobs),
        f"{AT_ONCE} at once": _posted(here, "/slurm/opn/sbatchd", {"script": JOB}, AT_ONCE, jobs),
    }
    return [
        Contest(
            f"{jobs} separate sbatch, {name}",
            f"0.9 of the rate of {typed} on the login node",
            "rate",
            _tidied(node, way),
            {typed: _tidied(node, by_xargs(node, jobs))},
        )
        for name, way in ways.items()
    ]


def _question(here: Service, calls: int) -> Contest:
    return Contest(
        "the same question, 32 at once",
        "asked once for many",
        "rate",
        _posted(here, QUESTION, {}, 32, calls),
        {"with ?fresh=true": _posted(here, f"{QUESTION}?fresh=true", {}, 32, calls)},
    )


def _posted(here: Service, path: str, options: dict[str, Any], callers: int, calls: int) -> Way:
    """So many requests to the service."""
    asked = post(path, here.token, json.dumps(options).encode())

    async def way() -> Measured:
        clients = [Client(here.port, asked, b'"success":true') for _ in range(callers)]
        return await requests(clients, calls)

    return way


def batch(here: Service, jobs: int) -> Way:
    """One request for all of them, and the wait for the last."""
    options = {"script": JOB, "job_name": "bench-{{n}}"}
    body = {"options": options, "sweep": {"n": {"start": 1, "stop": jobs}}}

    def launch_and_wait() -> int:
        launched = ask(here, here.token, "/slurm/opn/sbatchd/batch", body)
        path = f"/batches/{launched['batch']}?wait=30"
        while (found := ask(here, here.token, path))["state"] != "ended":
            pass
        return int(found["counts"]["succeeded"])

    async def way() -> Measured:
        began = time.perf_counter()
        done = await asyncio.to_thread(launch_and_wait)
        seconds = time.perf_counter() - began
        return Measured(1, seconds, [seconds / jobs] * done, jobs - done)

    return way


def by_xargs(node: asyncssh.SSHClientConnection, jobs: int) -> Way:
    """As many by xargs on the login node."""
    return _typed(node, f"yes bench.sh | head -n {jobs} | xargs -P {AT_ONCE} -n 1 sbatch", jobs)


def _typed(node: asyncssh.SSHClientConnection, line: str, jobs: int) -> Way:
    """A line typed on the login node, which submits so many jobs."""

    async def way() -> Measured:
        began = time.perf_counter()
        done = await node.run(line, stdin=asyncssh.DEVNULL)
        seconds = time.perf_counter() - began
        submitted = str(done.stdout).count("Submitted batch job")
        return Measured(1, seconds, [seconds / jobs] * submitted, jobs - submitted)

    return way


def _tidied(node: asyncssh.SSHClientConnection, way: Way) -> Way:
    """The same, and behind it nothing is left in the queue."""

    async def tidied() -> Measured:
        measured = await way()
        await tidy(node)
        return measured

    return tidied


async def tidy(node: asyncssh.SSHClientConnection) -> None:
    """Leave nothing of the user in the queue."""
    await node.run("scancel --user=$USER", check=True)
