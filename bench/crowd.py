"""Many users at once whose sessions are cold, and many tasks that run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from bench.batch import ask
from bench.load import Client, Measured, post, requests
from bench.site import Site
from bench.table import Row, fact, times

WORKER = "worker.main"
SLEEP = "sleep 100000; : {{n}}"
LOGINS_AT_ONCE = 4
CALLS = 50
PATIENCE_SECONDS = 600


async def once_each(here: Site, tokens: list[str]) -> Measured:
    """One command of each at the same moment."""
    clients = [Client(here.port, post("/utils/cmd/id", each, b"{}"), b"uid=") for each in tokens]
    return await requests(clients, len(clients))


async def again_and_again(here: Site, token: str) -> Measured:
    """One caller's command, several times."""
    request = post("/utils/cmd/id", token, b"{}")
    return await requests([Client(here.port, request, b"uid=")], CALLS)


def cold(here: Site, users: list[str]) -> list[Row]:
    """All users ask at the same moment: their sessions closed, then open."""
    with ThreadPoolExecutor(LOGINS_AT_ONCE) as pool:
        tokens = list(pool.map(here.log_in_other, users))
    asyncio.run(again_and_again(here, here.token))
    before = here.memory()[WORKER]
    taken = asyncio.run(once_each(here, tokens))
    each = (here.memory()[WORKER] - before) * 1024 / len(users)
    warm = asyncio.run(once_each(here, tokens))
    asked = {f"{len(users)} users at once, cold": taken, "the same, warm": warm}
    return [
        *(fact(work, "none fails", times(x) | {"failed": x.failed}) for work, x in asked.items()),
        fact("an idle session", "under 300 KiB", {"KiB in the worker": each}),
    ]


def running(here: Site, other: str, tasks: int) -> list[Row]:
    """A batch of `sleep`, all at the same time in one worker, beside another user's commands."""
    token = here.log_in_other(other)
    idle = asyncio.run(again_and_again(here, token))
    before = here.memory()[WORKER]
    body = {
        "options": {"command": SLEEP},
        "items": [{"n": number} for number in range(tasks)],
        "at_once": tasks,
    }
    began = time.perf_counter()
    batch = ask(here, here.token, "/core/opn/run/batch?timeout=100000", body)["batch"]
    next(each for each in _counts(here, batch) if each["running"] == tasks)
    claimed = time.perf_counter() - began
    beside = asyncio.run(again_and_again(here, token))
    memory = here.memory()[WORKER]
    began = time.perf_counter()
    ask(here, here.token, f"/batches/{batch}", method="DELETE")
    next(each for each in _counts(here, batch) if each["cancelled"] == tasks)
    figures = {
        "MiB in the worker": memory,
        "KiB for each": (memory - before) * 1024 / tasks,
        "seconds until claimed": claimed,
        "seconds until cancelled and gone": time.perf_counter() - began,
    }
    work = f"{tasks} tasks at once in one worker"
    return [
        fact(work, "under 400 MiB; each under 50 KiB", figures),
        fact(
            "another user's command",
            "none fails",
            times(idle, "before: ") | times(beside, "then: ") | {"failed": beside.failed},
        ),
    ]


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
