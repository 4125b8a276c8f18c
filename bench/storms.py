"""Attacks on the HTTP side of the service, and how long another user waits meanwhile."""

from __future__ import annotations

import asyncio

from bench.batch import call_api
from bench.load import HttpClient, Measurement, http_request, run_clients
from bench.site import MeasuredSite
from bench.table import Row, figures_row, percentile_figures
from tests.support.storm import STORMS, storm

API = "api.main"
GOAL = "p99 under 250 ms, none fails"


def measure_storms(site: MeasuredSite, calls: int) -> list[Row]:
    """Ask for a list of tasks over new connections, with no attack and beside each of them."""
    honest = site.log_in_other()
    rows = [_row(site, "no attack", asyncio.run(_ask(site, honest, calls)))]
    for kind in STORMS:
        task = call_api(site, site.token, "/core/opn/run", {"command": "sleep 600"})["task"]
        with storm(kind, site.port, site.token, task):
            rows.append(_row(site, f"beside {kind}", asyncio.run(_ask(site, honest, calls))))
        call_api(site, site.token, f"/tasks/{task}", method="DELETE")
    return rows


async def _ask(site: MeasuredSite, token: str, calls: int) -> Measurement:
    headers = {"Authorization": f"Bearer {token}", "Connection": "close"}
    request = http_request("GET", "/tasks?limit=1", "localhost", headers, b"")
    return await run_clients([HttpClient(site.port, request, b"tasks")], calls)


def _row(site: MeasuredSite, name: str, measurement: Measurement) -> Row:
    figures = percentile_figures(measurement) | {"failed": measurement.failed}
    figures |= {"MiB in the API": site.memory()[API]}
    return figures_row(f"one request at a time, {name}", GOAL, figures)
