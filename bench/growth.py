"""The same commands through one and two API processes, and workers.

On a machine whose cores client, service and sshd have used up, nothing is left for more processes:
it shows then what it costs to have them.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import Iterator

from bench.commands import ours
from bench.load import Measured
from bench.site import Site, further
from bench.table import Row, fact

PROCESSES = [(1, 1), (1, 2), (2, 1), (2, 2)]
"""API processes and workers."""
CALLERS = 64


@contextlib.contextmanager
def grown(here: Site, apis: int, workers: int) -> Iterator[list[int]]:
    """So many processes of each; the ports of the API."""
    with contextlib.ExitStack() as stack:
        for _ in range(1, workers):
            stack.enter_context(further(here, "worker.main"))
        others = [stack.enter_context(further(here, "api.main")) for _ in range(1, apis)]
        yield [here.port, *others]


def grow(here: Site, calls: int, rounds: int) -> list[Row]:
    """Each number of processes in turn, round after round; rates are compared within a round."""
    found: dict[tuple[int, int], list[Measured]] = {each: [] for each in PROCESSES}
    for _ in range(rounds):
        for processes in PROCESSES:
            with grown(here, *processes) as ports:
                asyncio.run(ours(here, CALLERS, CALLERS * 4, ports))  # all are warm then
                taken = asyncio.run(ours(here, CALLERS, max(calls, CALLERS * 8), ports))
                found[processes].append(taken)
    return [_row(*processes, taken, found[PROCESSES[0]]) for processes, taken in found.items()]


def _row(apis: int, workers: int, taken: list[Measured], alone: list[Measured]) -> Row:
    ratios = [each.rate / one.rate for each, one in zip(taken, alone, strict=True)]
    figures = {
        "per s": statistics.median(each.rate for each in taken),
        "p50 ms": statistics.median(each.percentile(50) for each in taken),
        "failed": sum(each.failed for each in taken),
        "rate to that of one each": statistics.median(ratios),
        "at least": min(ratios),
        "at most": max(ratios),
    }
    return fact(f"{CALLERS} callers of {apis} API, {workers} worker", "the rate grows", figures)
