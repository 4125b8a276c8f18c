"""`python -m bench.crowd`: many users at once whose sessions are cold, and many tasks that run.

First each of 100 users asks for one command at the same moment, when no session is open, and again
when all are. Then one user's batch of `sleep` runs 2,000 tasks at once in one worker, while a
command of another user is waited for. Absolute figures are this machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.batch import ask
from bench.load import Client, Measured, post, requests
from bench.site import Site, site

WORKER = "worker.main"
SLEEP = "sleep 100000; : {{n}}"
LOGINS_AT_ONCE = 4
CALLS = 50
PATIENCE_SECONDS = 600


def names(count: int) -> list[str]:
    """Users of the login node."""
    return [f"user{number}" for number in range(count)]


def said(name: str, measured: Measured, here: Site) -> None:
    """Print a line."""
    memory = ", ".join(f"{process} {mib:.1f}" for process, mib in here.memory().items())
    print(
        f"{name:<34} p50 {measured.percentile(50):7.1f} ms, p99 {measured.percentile(99):7.1f} ms, "
        f"{measured.failed} of {len(measured.good) + measured.failed} failed; "
        f"resident MiB: {memory}",
        flush=True,
    )


async def once_each(here: Site, tokens: list[str]) -> Measured:
    """One command of each at the same moment."""
    clients = [Client(here.port, post("/utils/cmd/id", each, b"{}"), b"uid=") for each in tokens]
    return await requests(clients, len(clients))


async def again_and_again(here: Site, token: str) -> Measured:
    """One caller's command, several times."""
    request = post("/utils/cmd/id", token, b"{}")
    return await requests([Client(here.port, request, b"uid=")], CALLS)


def cold(here: Site, users: list[str]) -> None:
    """All users at once: their sessions closed, then open."""
    with ThreadPoolExecutor(LOGINS_AT_ONCE) as pool:
        tokens = list(pool.map(here.log_in_other, users))
    said("one caller, warm", asyncio.run(again_and_again(here, here.token)), here)
    before = here.memory()[WORKER]
    said(f"{len(users)} users at once, cold", asyncio.run(once_each(here, tokens)), here)
    after = here.memory()[WORKER]
    said("the same, warm", asyncio.run(once_each(here, tokens)), here)
    print(f"the worker has {(after - before) * 1024 / len(users):.0f} KiB for each session")


def running(here: Site, other: str, tasks: int) -> None:
    """A batch of tasks that all run at the same time."""
    token = here.log_in_other(other)
    said("another user, idle", asyncio.run(again_and_again(here, token)), here)
    before = here.memory()[WORKER]
    body = {
        "options": {"command": SLEEP},
        "items": [{"n": number} for number in range(tasks)],
        "at_once": tasks,
    }
    began = time.perf_counter()
    batch = ask(here, here.token, "/core/opn/run/batch?timeout=100000", body)["batch"]
    next(each for each in _counts(here, batch) if each["running"] == tasks)
    seconds = time.perf_counter() - began
    print(f"{tasks} tasks run after {seconds:.1f} s")
    said(f"another user, {tasks} tasks run", asyncio.run(again_and_again(here, token)), here)
    each = (here.memory()[WORKER] - before) * 1024 / tasks
    print(f"the worker has {each:.0f} KiB for each task")
    began = time.perf_counter()
    ask(here, here.token, f"/batches/{batch}", method="DELETE")
    next(each for each in _counts(here, batch) if each["cancelled"] == tasks)
    print(f"all cancelled, and seen to be gone, after {time.perf_counter() - began:.1f} s")


def _counts(here: Site, batch: str) -> Iterator[dict[str, int]]:
    """How many tasks are in which state, again and again; RuntimeError when that takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        counts: dict[str, int] = ask(here, here.token, f"/batches/{batch}")["counts"]
        if counts["failed"] or counts["lost"] or counts["timed_out"]:
            raise RuntimeError(f"tasks of the batch failed: {counts}")
        yield counts
        if time.monotonic() > deadline:
            raise RuntimeError(f"not in {PATIENCE_SECONDS} s: {counts}")
        time.sleep(0.5)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.crowd", description=__doc__)
    parser.add_argument("-u", "--users", type=int, default=100)
    parser.add_argument("-t", "--tasks", type=int, default=2000)
    arguments = parser.parse_args()
    users = names(max(1, arguments.users))
    room = str(arguments.tasks + 100)
    limits = {"WORKER_TASKS": room, "BATCH_AT_ONCE": room, "QUEUED_TASKS": room}
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        site(Path(folder), others=users, **limits) as here,
    ):
        cold(here, users)
        running(here, users[0], arguments.tasks)


if __name__ == "__main__":
    main()
