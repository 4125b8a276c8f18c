"""The same load on one and on two API processes and workers.

On a machine whose cores are already used up by clients, service and sshd, no core is left for more
processes: the figures then show what additional processes cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import Iterator

from bench.commands import run_commands
from bench.load import Measurement
from bench.site import MeasuredSite, start_process
from bench.table import Row, figures_row

PROCESS_COUNTS = [(1, 1), (1, 2), (2, 1), (2, 2)]
"""Numbers of API processes and workers; ratios are relative to the first."""
CALLERS = 64


@contextlib.contextmanager
def run_processes(site: MeasuredSite, apis: int, workers: int) -> Iterator[list[int]]:
    """Add processes up to these numbers for a while; yield the ports of all API processes."""
    with contextlib.ExitStack() as stack:
        for _ in range(1, workers):
            stack.enter_context(start_process(site, "worker.main"))
        ports = [stack.enter_context(start_process(site, "api.main")) for _ in range(1, apis)]
        yield [site.port, *ports]


def measure_scaling(site: MeasuredSite, calls: int, rounds: int) -> list[Row]:
    """Measure each number of processes in turn; ratios of rates are formed within a round."""
    measurements: dict[tuple[int, int], list[Measurement]] = {each: [] for each in PROCESS_COUNTS}
    for _ in range(rounds):
        for counts in PROCESS_COUNTS:
            with run_processes(site, *counts) as ports:
                asyncio.run(run_commands(site, CALLERS, CALLERS * 4, ports))  # warm up
                count = max(calls, CALLERS * 8)
                measurements[counts].append(asyncio.run(run_commands(site, CALLERS, count, ports)))
    baseline = measurements[PROCESS_COUNTS[0]]
    return [_row(*counts, results, baseline) for counts, results in measurements.items()]


def _row(
    apis: int, workers: int, measurements: list[Measurement], baseline: list[Measurement]
) -> Row:
    ratios = [
        result.rate / single.rate for result, single in zip(measurements, baseline, strict=True)
    ]
    figures = {
        "per s": statistics.median(each.rate for each in measurements),
        "p50 ms": statistics.median(each.percentile(50) for each in measurements),
        "failed": sum(each.failed for each in measurements),
        "rate relative to one of each": statistics.median(ratios),
        "at least": min(ratios),
        "at most": max(ratios),
    }
    return figures_row(
        f"{CALLERS} callers, API processes: {apis}, workers: {workers}", "the rate grows", figures
    )
