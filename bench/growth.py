"""`python -m bench.growth`: the same commands through one and two API processes, and workers.

Every round measures each number of processes in turn; rates are compared within a round. Client,
service and sshd share the machine, so on one of two cores nothing is left for more processes to
use: it shows then what it costs to have them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.load import Client, Measured, post, requests
from bench.site import USER, Site, further, site

PROCESSES = [(1, 1), (1, 2), (2, 1), (2, 2)]
"""API processes and workers."""


@contextlib.contextmanager
def grown(here: Site, apis: int, workers: int) -> Iterator[list[int]]:
    """So many processes of each; the ports of the API."""
    with contextlib.ExitStack() as stack:
        for _ in range(1, workers):
            stack.enter_context(further(here, "worker.main"))
        others = [stack.enter_context(further(here, "api.main")) for _ in range(1, apis)]
        yield [here.port, *others]


async def commands(here: Site, ports: list[int], callers: int, calls: int) -> Measured:
    """One command for each call, the callers shared by the ports."""
    request = post("/utils/cmd/id", here.token, b"{}")
    expected = f"({USER})".encode()
    clients = [Client(ports[n % len(ports)], request, expected) for n in range(callers)]
    return await requests(clients, calls)


def show(found: dict[tuple[int, int], list[Measured]]) -> None:
    """A line for each number of processes."""
    alone = found[PROCESSES[0]]
    for (apis, workers), measured in found.items():
        ratios = [each.rate / one.rate for each, one in zip(measured, alone, strict=True)]
        print(
            f"{apis} API, {workers} worker: "
            f"{statistics.median(each.rate for each in measured):6.1f}/s, "
            f"p50 {statistics.median(each.percentile(50) for each in measured):6.1f} ms, "
            f"failed {sum(each.failed for each in measured)}, rate to that of one each "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.growth", description=__doc__)
    parser.add_argument("-c", "--callers", type=int, default=64)
    parser.add_argument("-n", "--calls", type=int, default=1000)
    parser.add_argument("-r", "--rounds", type=int, default=3)
    arguments = parser.parse_args()
    found: dict[tuple[int, int], list[Measured]] = {each: [] for each in PROCESSES}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, site(Path(folder)) as here:
        for _ in range(arguments.rounds):
            for processes in PROCESSES:
                with grown(here, *processes) as ports:
                    callers = arguments.callers
                    asyncio.run(commands(here, ports, callers, callers * 4))  # all are warm then
                    measured = asyncio.run(commands(here, ports, callers, arguments.calls))
                    found[processes].append(measured)
    show(found)


if __name__ == "__main__":
    main()
