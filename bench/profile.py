"""`python -m bench.profile`: what each millisecond of one waiting command goes to, part by part.

Marks in API and worker (bench/trace) are laid beside those of the caller: all are times of one
clock. One caller, so that what lies between two marks is that request's; medians of all requests.
Then the processor time of each process for 1,000 requests, of one caller and of many at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import trace
from bench.commands import ours
from bench.load import Client, post
from bench.site import USER, Site, site

Mark = tuple[str, int]

PARTS = {
    "request": "HTTP is read and routed",
    "token read": "the token is opened",
    "options checked": "login, options and the command line are checked, the task is sealed",
    "task written": "the task is written (hop to a thread, SQLite)",
    "published": "its id is published (Celery, Redis)",
    "received": "Celery's thread in the worker has it",
    "claimed": "it is claimed, on the disk (SQLite)",
    "begun": "the worker's loop begins it (hop from Celery's thread)",
    "opened": "the envelope is opened, the options are checked again",
    "to be sent": "the step is made",
    "step ended": "SSH, the runner and the command itself",
    "to be recorded": "its output is read and masked",
    "recorded": "the end is written, on the disk (hop to a thread, SQLite)",
    "heard": "the API hears of it (Redis)",
    "answered": "the answer is made and sent",
    "received by the caller": "the caller has read it",
}
"""Each mark, and what lies between the one before it and it."""


async def calls(here: Site, count: int) -> list[Mark]:
    """One caller, again and again: when each request was sent, and when it was answered."""
    client = Client(here.port, post("/utils/cmd/id", here.token, b"{}"), USER.encode())
    marks: list[Mark] = []
    for _ in range(count):
        marks.append(("sent", time.perf_counter_ns()))
        if not await client.call():
            raise SystemExit("a request failed")
        marks.append(("received by the caller", time.perf_counter_ns()))
    await client.close()
    return marks


def written(here: Site, module: str, folder: Path) -> list[Mark]:
    """The marks of a process of the service."""
    file = folder / str(here.signal(signal.SIGUSR2, module))
    while not file.exists():
        time.sleep(0.05)
    return [(what, moment) for what, moment in json.loads(file.read_text())]


def between(marks: Sequence[Mark]) -> dict[str, list[float]]:
    """Milliseconds before each mark since the one before it, of each request."""
    found: dict[str, list[float]] = {name: [] for name in PARTS}
    for request in _requests(sorted(marks, key=lambda mark: mark[1])):
        last = request[0][1]
        for name in PARTS:
            # What the request before has left to do may be marked after this one was sent.
            moments = (moment for what, moment in request if what == name and moment >= last)
            if moment := next(moments, None):
                found[name].append((moment - last) / 1e6)
                last = moment
    return found


def _requests(marks: Sequence[Mark]) -> Iterator[list[Mark]]:
    """The marks of each request: from its own first to its last."""
    times = [moment for _, moment in marks]
    for name, moment in marks:
        if name == "sent":
            first = bisect_left(times, moment)
            last = next(n for n in range(first, len(marks)) if marks[n][0] == [*PARTS][-1])
            yield list(marks[first : last + 1])


def show_parts(found: dict[str, list[float]]) -> None:
    """Print what lies before each mark; the sum of the medians stands for the whole."""
    total = sum(statistics.median(each) for each in found.values() if each)
    print(f"{'ms':>8} {'p90':>8} {'part':>5}")
    for name, each in found.items():
        if each:
            middle, high = statistics.median(each), sorted(each)[int(len(each) * 0.9)]
            print(f"{middle:>8.2f} {high:>8.2f} {middle / total:>5.0%}  {PARTS[name]}")
    print(f"{total:>8.2f}                 in all")


def show_processor(before: dict[str, float], after: dict[str, float], count: int) -> None:
    """Print processor seconds for 1,000 requests."""
    each = {name: (after[name] - before[name]) / count * 1000 for name in after}
    shown = ", ".join(f"{name} {seconds:.2f}" for name, seconds in each.items())
    print(f"processor seconds for 1,000 requests: {shown}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.profile", description=__doc__)
    parser.add_argument("-n", "--calls", type=int, default=300)
    parser.add_argument("-c", "--callers", type=int, default=32, help="for the processor time")
    arguments = parser.parse_args()
    count = arguments.calls
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        marked = folder / "marks"
        marked.mkdir()
        path = os.pathsep.join(map(str, [Path(trace.__file__).parent, Path.cwd()]))
        with site(folder, PYTHONPATH=path, **{trace.FOLDER: str(marked)}) as here:
            asyncio.run(calls(here, 50))
            spent = [here.processor()]
            marks = asyncio.run(calls(here, count))
            spent.append(here.processor())
            asyncio.run(ours(here, arguments.callers, count))
            spent.append(here.processor())
            marks += [mark for module in trace.MODULES for mark in written(here, module, marked)]
    print(f"\none caller, {count} requests")
    show_parts(between(marks))
    show_processor(spent[0], spent[1], count)
    print(f"\n{arguments.callers} callers at once, {count} requests")
    show_processor(spent[1], spent[2], count)


if __name__ == "__main__":
    main()
