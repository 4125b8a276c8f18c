"""What a waiting request's time goes to, part by part, told by marks.

Marks in API and worker (bench/trace) are laid beside those of the caller: all are times of one
clock. One caller, so that what lies between two marks is that request's.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench import trace
from bench.load import Client
from bench.site import Service

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
    "to be sent": "the first step is made",
    "step ended": "SSH, the runner and the command itself",
    "between steps": "from one step to the next: noted, masked, to the operation's thread and back",
    "to be recorded": "the output is read and masked",
    "recorded": "the end is written, on the disk (hop to a thread, SQLite)",
    "heard": "the API hears of it (Redis)",
    "answered": "the answer is made and sent",
    "received by the caller": "the caller has read it",
}
"""Each mark, and what lies between the one before it and it; of several steps, between each two."""


def traced(folder: Path) -> dict[str, str]:
    """Environment for a service whose processes write their marks into a folder."""
    folder.mkdir()
    path = os.pathsep.join(map(str, [Path(trace.__file__).parent, Path.cwd()]))
    return {"PYTHONPATH": path, trace.FOLDER: str(folder)}


async def calls(client: Client, count: int) -> list[Mark]:
    """One caller, again and again: when each request was sent, and when it was answered."""
    marks: list[Mark] = []
    for _ in range(count):
        marks.append(("sent", time.perf_counter_ns()))
        if not await client.call():
            raise SystemExit("a request failed")
        marks.append(("received by the caller", time.perf_counter_ns()))
    await client.close()
    return marks


def written(here: Service, folder: Path) -> list[Mark]:
    """The marks of the processes of the service so far."""
    return [mark for module in trace.MODULES for mark in _written(here, module, folder)]


def _written(here: Service, module: str, folder: Path) -> list[Mark]:
    file = folder / str(here.signal(signal.SIGUSR2, module))
    while not file.exists():
        time.sleep(0.05)
    marks = [(what, moment) for what, moment in json.loads(file.read_text())]
    file.unlink()
    return marks


def between(marks: Sequence[Mark]) -> dict[str, list[float]]:
    """Milliseconds before each mark since the one before it, of each request."""
    found: dict[str, list[float]] = {name: [] for name in PARTS}
    for request in _requests(sorted(marks, key=lambda mark: mark[1])):
        last = request[0][1]
        for name in PARTS:
            moments = [moment for what, moment in request if what == name]
            if name == "step ended" and len(moments) > 1:
                begun = [moment for what, moment in request if what == "to be sent"]
                spent = sum(moments) - sum(begun)
                found[name].append(spent / 1e6)
                found["between steps"].append((moments[-1] - begun[0] - spent) / 1e6)
                last = moments[-1]
            # What the request before has left to do may be marked after this one was sent.
            elif later := [moment for moment in moments if moment >= last]:
                found[name].append((later[0] - last) / 1e6)
                last = later[0]
    return found


def _requests(marks: Sequence[Mark]) -> Iterator[list[Mark]]:
    """The marks of each request: from its own first to its last."""
    times = [moment for _, moment in marks]
    for name, moment in marks:
        if name == "sent":
            first = bisect_left(times, moment)
            last = next(n for n in range(first, len(marks)) if marks[n][0] == [*PARTS][-1])
            yield list(marks[first : last + 1])


def show(found: Mapping[str, Sequence[float]]) -> None:
    """Print what lies before each mark; the sum of the medians stands for the whole."""
    total = sum(statistics.median(each) for each in found.values() if each)
    print(f"{'ms':>8} {'p90':>8} {'part':>5}")
    for name, each in found.items():
        if each:
            middle, high = statistics.median(each), sorted(each)[int(len(each) * 0.9)]
            print(f"{middle:>8.2f} {high:>8.2f} {middle / total:>5.0%}  {PARTS[name]}")
    print(f"{total:>8.2f}                 in all")
