"""The phases of a waiting request, measured by time marks.

Marks of API and worker (bench/trace) are merged with those of the caller; all use one clock. There
is one caller, so every mark between its request and its answer belongs to that request.
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
from bench.load import HttpClient
from bench.site import MeasuredService

Mark = tuple[str, int]
"""The name of a mark, and its time in nanoseconds."""

PHASES = {
    "request": "reading and routing the HTTP request",
    "token read": "decrypting the token",
    "options checked": "checking login, options and command line, encrypting the task's payload",
    "task written": "writing the task (hop to a thread, SQLite)",
    "published": "publishing its ID (Celery, Redis)",
    "received": "receiving it in the worker's Celery thread",
    "claimed": "claiming it, flushed to disk (SQLite)",
    "started": "starting it on the worker's loop (hop from Celery's thread)",
    "decrypted": "decrypting its payload, checking the options again",
    "to be sent": "building the first step",
    "step ended": "SSH, the runner and the command itself",
    "between steps": "recording and masking a step, hop to the operation's thread and back",
    "to be recorded": "reading and masking the output",
    "recorded": "writing the end, flushed to disk (hop to a thread, SQLite)",
    "API notified": "notifying the API of the end (Redis)",
    "answered": "building and sending the answer",
    "received by the caller": "reading the answer in the caller",
}
"""The phase that ends at each mark; of several steps, the phase between two of them."""


def trace_environment(folder: Path) -> dict[str, str]:
    """Make `folder` and return the environment that makes a service write its marks there."""
    folder.mkdir()
    path = os.pathsep.join(map(str, [Path(trace.__file__).parent, Path.cwd()]))
    return {"PYTHONPATH": path, trace.FOLDER: str(folder)}


async def make_calls(client: HttpClient, count: int) -> list[Mark]:
    """Call `count` times; return a mark for each request sent and each answer received."""
    marks: list[Mark] = []
    for _ in range(count):
        marks.append(("sent", time.perf_counter_ns()))
        if not await client.call():
            raise SystemExit("a request failed")
        marks.append(("received by the caller", time.perf_counter_ns()))
    await client.close()
    return marks


def service_marks(service: MeasuredService, folder: Path) -> list[Mark]:
    """Return the marks that the processes of the service have recorded so far."""
    return [mark for module in trace.MODULES for mark in _process_marks(service, module, folder)]


def _process_marks(service: MeasuredService, module: str, folder: Path) -> list[Mark]:
    file = folder / str(service.signal(signal.SIGUSR2, module))
    while not file.exists():
        time.sleep(0.05)
    marks = [(name, moment) for name, moment in json.loads(file.read_text())]
    file.unlink()
    return marks


def phase_times(marks: Sequence[Mark]) -> dict[str, list[float]]:
    """Return the milliseconds of each phase, one value per request, by the mark that ends it."""
    times: dict[str, list[float]] = {name: [] for name in PHASES}
    for request in _split_requests(sorted(marks, key=lambda mark: mark[1])):
        last = request[0][1]
        for name in PHASES:
            moments = [moment for mark, moment in request if mark == name]
            if name == "step ended" and len(moments) > 1:
                starts = [moment for mark, moment in request if mark == "to be sent"]
                step_time = sum(moments) - sum(starts)
                times[name].append(step_time / 1e6)
                times["between steps"].append((moments[-1] - starts[0] - step_time) / 1e6)
                last = moments[-1]
            # Marks of the previous request's cleanup may come after this request was sent.
            elif later := [moment for moment in moments if moment >= last]:
                times[name].append((later[0] - last) / 1e6)
                last = later[0]
    return times


def _split_requests(marks: Sequence[Mark]) -> Iterator[list[Mark]]:
    """Yield the marks of each request, from its first to its last."""
    times = [moment for _, moment in marks]
    for name, moment in marks:
        if name == "sent":
            first = bisect_left(times, moment)
            last = next(n for n in range(first, len(marks)) if marks[n][0] == [*PHASES][-1])
            yield list(marks[first : last + 1])


def print_phases(times: Mapping[str, Sequence[float]]) -> None:
    """Print the median and p90 of each phase, and its share of the sum of all medians."""
    total = sum(statistics.median(values) for values in times.values() if values)
    print(f"{'ms':>8} {'p90':>8} {'share':>5}")
    for name, values in times.items():
        if values:
            median, p90 = statistics.median(values), sorted(values)[int(len(values) * 0.9)]
            print(f"{median:>8.2f} {p90:>8.2f} {median / total:>5.0%}  {PHASES[name]}")
    print(f"{total:>8.2f}                 in total")
