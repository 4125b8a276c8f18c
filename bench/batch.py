"""`python -m bench.batch`: a long batch, and another user's command that is waited for meanwhile.

One run: the command on the idle service, then again and again while the batch runs; their ratio
is what can be trusted, absolute figures are this machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from bench.load import Client, Measured, post
from bench.site import Service, Site, site

PAUSE_SECONDS = 0.05
"""Between two calls of one who waits for each."""
BESIDE = 100
"""Calls on the idle service."""


def ask(here: Service, token: str, path: str, body: Any = None, method: str | None = None) -> Any:
    """Ask the service with a token: POST with a body, else GET; the JSON of its answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{here.port}{path}",
        json.dumps(body).encode() if body is not None else None,
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


async def call(client: Client, measured: Measured) -> None:
    """Call once, then pause."""
    began = time.perf_counter()
    if await client.call():
        measured.good.append(time.perf_counter() - began)
    else:
        measured.failed += 1
    await asyncio.sleep(PAUSE_SECONDS)


async def measure(here: Site, items: int) -> dict[str, Any]:
    """Idle, then beside a batch; the batch is begun in a thread."""
    other = here.log_in_other()
    client = Client(here.port, post("/utils/cmd/id", other, b"{}"), b"uid=")
    for _ in range(20):  # sessions are opened, code is warm
        await call(client, Measured(1))
    ask(here, here.token, "/utils/cmd/id", {})
    idle, accepting, running = Measured(1), Measured(1), Measured(1)
    for _ in range(BESIDE):
        await call(client, idle)
    body = {"options": {"input": ["{{n}}"]}, "sweep": {"n": {"start": 1, "stop": items}}}
    began = time.perf_counter()
    launching = asyncio.create_task(
        asyncio.to_thread(ask, here, here.token, "/utils/cmd/echo/batch", body)
    )
    while not launching.done():
        await call(client, accepting)
    batch = launching.result()["batch"]
    accepted = time.perf_counter() - began - PAUSE_SECONDS / 2
    path = f"/batches/{batch}"
    while (await asyncio.to_thread(ask, here, here.token, path))["state"] != "ended":
        for _ in range(10):
            await call(client, running)
    ended = ask(here, here.token, path)
    await client.close()
    for each in (idle, accepting, running):
        each.good.sort()
    return {
        "items": items,
        "succeeded": ended["counts"]["succeeded"],
        "accepted_s": round(accepted, 2),
        "items_per_s": ended["rate"],
        "failed": idle.failed + accepting.failed + running.failed,
        "idle": _percentiles(idle),
        "accepting": _percentiles(accepting),
        "running": _percentiles(running),
        "ratio": {
            f"p{part}": round(running.percentile(part) / idle.percentile(part), 2)
            for part in (50, 99)
        },
    }


def _percentiles(measured: Measured) -> dict[str, float]:
    found = {f"p{part}_ms": round(measured.percentile(part), 1) for part in (50, 99)}
    return {"calls": len(measured.good), **found}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.batch", description=__doc__)
    parser.add_argument("-n", "--items", type=int, default=10_000, help="tasks of the batch")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, site(Path(folder)) as here:
        print(json.dumps(asyncio.run(measure(here, arguments.items)), indent=1))


if __name__ == "__main__":
    main()
