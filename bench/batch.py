"""`python -m bench.batch`: run a long batch, and another user's waiting command meanwhile.

One run measures the command on the idle service, then repeatedly while the batch runs. Trust their
ratio; the absolute figures only describe this machine.
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

from bench.load import HttpClient, Measurement, post_request
from bench.site import MeasuredService, MeasuredSite, start_site

THINK_SECONDS = 0.05
"""Pause of the other user between an answer and the next request."""
IDLE_CALLS = 100
"""Calls on the idle service."""


def call_api(
    service: MeasuredService, token: str, path: str, body: Any = None, method: str | None = None
) -> Any:
    """Send a request (POST if there is a body, else GET) and return the JSON of its answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{service.port}{path}",
        json.dumps(body).encode() if body is not None else None,
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


async def call_and_pause(client: HttpClient, measurement: Measurement) -> None:
    """Send one request, record its latency, then pause."""
    began = time.perf_counter()
    if await client.call():
        measurement.latencies.append(time.perf_counter() - began)
    else:
        measurement.failed += 1
    await asyncio.sleep(THINK_SECONDS)


async def measure(site: MeasuredSite, items: int) -> dict[str, Any]:
    """Measure the other user's command on the idle service, then while a batch runs."""
    other = site.log_in_other()
    client = HttpClient(site.port, post_request("/utils/cmd/id", other, b"{}"), b"uid=")
    for _ in range(20):  # open sessions and warm up the code
        await call_and_pause(client, Measurement(1))
    call_api(site, site.token, "/utils/cmd/id", {})
    idle, accepting, running = Measurement(1), Measurement(1), Measurement(1)
    for _ in range(IDLE_CALLS):
        await call_and_pause(client, idle)
    body = {"options": {"input": ["{{n}}"]}, "sweep": {"n": {"start": 1, "stop": items}}}
    began = time.perf_counter()
    launch = asyncio.create_task(
        asyncio.to_thread(call_api, site, site.token, "/utils/cmd/echo/batch", body)
    )
    while not launch.done():
        await call_and_pause(client, accepting)
    batch = launch.result()["batch"]
    accept_seconds = time.perf_counter() - began - THINK_SECONDS / 2
    path = f"/batches/{batch}"
    while (await asyncio.to_thread(call_api, site, site.token, path))["state"] != "ended":
        for _ in range(10):
            await call_and_pause(client, running)
    final = call_api(site, site.token, path)
    await client.close()
    for measurement in (idle, accepting, running):
        measurement.latencies.sort()
    return {
        "items": items,
        "succeeded": final["counts"]["succeeded"],
        "accepted_s": round(accept_seconds, 2),
        "items_per_s": final["rate"],
        "failed": idle.failed + accepting.failed + running.failed,
        "idle": _percentiles(idle),
        "accepting": _percentiles(accepting),
        "running": _percentiles(running),
        "ratio": {
            f"p{percent}": round(running.percentile(percent) / idle.percentile(percent), 2)
            for percent in (50, 99)
        },
    }


def _percentiles(measurement: Measurement) -> dict[str, float]:
    values = {f"p{percent}_ms": round(measurement.percentile(percent), 1) for percent in (50, 99)}
    return {"calls": len(measurement.latencies), **values}


def main() -> None:
    """Run the benchmark and print its figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.batch", description=__doc__)
    parser.add_argument("-n", "--items", type=int, default=10_000, help="tasks of the batch")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, start_site(Path(folder)) as site:
        print(json.dumps(asyncio.run(measure(site, arguments.items)), indent=1))


if __name__ == "__main__":
    main()
