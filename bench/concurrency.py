"""Many concurrent users with cold sessions, and many concurrent tasks in one worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from bench.batch import call_api
from bench.load import HttpClient, Measurement, post_request, run_clients
from bench.site import MeasuredSite
from bench.table import Row, figures_row, percentile_figures

WORKER = "worker.main"
SLEEP_COMMAND = "sleep 100000; : {{n}}"
CONCURRENT_LOGINS = 4
COMMAND_CALLS = 50
BATCH_TIMEOUT_SECONDS = 600


async def run_one_command_each(site: MeasuredSite, tokens: list[str]) -> Measurement:
    """Run one command for each token, all at the same moment."""
    requests = [post_request("/utils/cmd/id", token, b"{}") for token in tokens]
    clients = [HttpClient(site.port, request, b"uid=") for request in requests]
    return await run_clients(clients, len(clients))


async def repeat_command(site: MeasuredSite, token: str) -> Measurement:
    """Run a command COMMAND_CALLS times, one after the other."""
    request = post_request("/utils/cmd/id", token, b"{}")
    return await run_clients([HttpClient(site.port, request, b"uid=")], COMMAND_CALLS)


def measure_cold_sessions(site: MeasuredSite, users: list[str]) -> list[Row]:
    """Run one command for every user at the same moment: with cold, then with warm sessions."""
    with ThreadPoolExecutor(CONCURRENT_LOGINS) as pool:
        tokens = list(pool.map(site.log_in_other, users))
    asyncio.run(repeat_command(site, site.token))
    before = site.memory()[WORKER]
    cold = asyncio.run(run_one_command_each(site, tokens))
    session_kib = (site.memory()[WORKER] - before) * 1024 / len(users)
    warm = asyncio.run(run_one_command_each(site, tokens))
    return [
        *(
            figures_row(
                f"{len(users)} concurrent users, {name} sessions",
                "none fails",
                percentile_figures(measurement) | {"failed": measurement.failed},
            )
            for name, measurement in {"cold": cold, "warm": warm}.items()
        ),
        figures_row("an idle session", "under 300 KiB", {"KiB in the worker": session_kib}),
    ]


def measure_concurrent_tasks(site: MeasuredSite, other: str, tasks: int) -> list[Row]:
    """Run a batch of `sleep` at once in one worker, beside another user's commands."""
    token = site.log_in_other(other)
    idle = asyncio.run(repeat_command(site, token))
    before = site.memory()[WORKER]
    body = {
        "options": {"command": SLEEP_COMMAND},
        "items": [{"n": number} for number in range(tasks)],
        "at_once": tasks,
    }
    began = time.perf_counter()
    batch = call_api(site, site.token, "/core/opn/run/batch?timeout=100000", body)["batch"]
    next(counts for counts in _poll_counts(site, batch) if counts["running"] == tasks)
    claim_seconds = time.perf_counter() - began
    busy = asyncio.run(repeat_command(site, token))
    memory = site.memory()[WORKER]
    began = time.perf_counter()
    call_api(site, site.token, f"/batches/{batch}", method="DELETE")
    next(counts for counts in _poll_counts(site, batch) if counts["cancelled"] == tasks)
    figures = {
        "MiB in the worker": memory,
        "KiB per task": (memory - before) * 1024 / tasks,
        "seconds until claimed": claim_seconds,
        "seconds until cancelled and gone": time.perf_counter() - began,
    }
    return [
        figures_row(
            f"{tasks} concurrent tasks in one worker",
            "under 400 MiB; under 50 KiB per task",
            figures,
        ),
        figures_row(
            "another user's command meanwhile",
            "none fails",
            percentile_figures(idle, "before: ")
            | percentile_figures(busy, "meanwhile: ")
            | {"failed": busy.failed},
        ),
    ]


def _poll_counts(site: MeasuredSite, batch: str) -> Iterator[dict[str, int]]:
    """Yield the number of tasks in each state, every half second.

    Raises RuntimeError when a task fails, or after BATCH_TIMEOUT_SECONDS.
    """
    deadline = time.monotonic() + BATCH_TIMEOUT_SECONDS
    while True:
        counts: dict[str, int] = call_api(site, site.token, f"/batches/{batch}")["counts"]
        if counts["failed"] or counts["lost"] or counts["timed_out"]:
            raise RuntimeError(f"tasks of the batch failed: {counts}")
        yield counts
        if time.monotonic() > deadline:
            raise RuntimeError(f"the batch took longer than {BATCH_TIMEOUT_SECONDS} s: {counts}")
        time.sleep(0.5)
