"""`python -m bench.watch`: watch a long operation over a connection that is cut at random.

The watcher continues with `Last-Event-ID`, as browsers do. At the end the events are compared with
the task in the database: each must have arrived once, in order. Exits with 1 if one did not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from bench.site import start_site

OPERATORS = Path(__file__).parents[1] / "tests" / "acceptance" / "operators"
STEP_SECONDS = 0.5


class ReceivedEvent(NamedTuple):
    """An event, and the time of its arrival."""

    id: str
    kind: str
    data: dict[str, Any]
    arrived_at: datetime


@dataclass(slots=True)
class TaskWatcher:
    """A client that watches a task to its end, across lost connections."""

    http: httpx.Client
    task: str
    events: list[ReceivedEvent] = field(default_factory=list)
    connections: int = 0

    def watch(self, seconds: float) -> None:
        """Watch for `seconds`, then lose the connection in the middle of the next chunk."""
        self.connections += 1
        headers = {"Last-Event-ID": self.events[-1].id} if self.events else None
        with self.http.stream("GET", f"/tasks/{self.task}/events", headers=headers) as answer:
            answer.raise_for_status()
            text = b""
            for chunk in _cut(answer.iter_raw(), seconds):
                *blocks, text = (text + chunk).split(b"\n\n")
                self.events += [event for each in blocks if (event := _parse(each.decode()))]

    @property
    def is_done(self) -> bool:
        """True once the last event has arrived."""
        return bool(self.events) and self.events[-1].kind == "done"


def _cut(chunks: Iterator[bytes], seconds: float) -> Iterator[bytes]:
    deadline = time.monotonic() + seconds
    for chunk in chunks:
        if time.monotonic() > deadline:
            yield chunk[: random.randrange(len(chunk))]
            return
        yield chunk


def _parse(text: str) -> ReceivedEvent | None:
    fields = dict(line.split(": ", 1) for line in text.splitlines() if not line.startswith(":"))
    if "data" not in fields:
        return None
    data = json.loads(fields["data"])
    return ReceivedEvent(fields["id"], fields["event"], data, datetime.now(UTC))


def expected_values(task: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the values that the events of each kind must have, in order; steps ran in sequence."""
    numbers = [step["number"] for step in task["steps"]]
    return {
        "state": ["queued", "running"],
        "log": list(enumerate(task["log"], 1)),
        "step": numbers,
        "step_ended": numbers,
        "done": [task["state"]],
    }


def received_values(events: list[ReceivedEvent]) -> dict[str, list[Any]]:
    """Return the values of the events of each kind, in order of arrival."""
    getters: dict[str, Callable[[Any], Any]] = {
        "state": lambda data: data["state"],
        "log": lambda data: (data["line"], data["text"]),
        "step": lambda data: data["number"],
        "step_ended": lambda data: data["number"],
        "done": lambda data: data["state"],
    }
    return {
        kind: [get(event.data) for event in events if event.kind == kind]
        for kind, get in getters.items()
    }


def find_faults(
    expected: dict[str, list[Any]], received: dict[str, list[Any]], events: list[ReceivedEvent]
) -> list[str]:
    """Describe each difference between the expected and the received events."""
    faults = []
    for kind, values in expected.items():
        if (arrived := received[kind]) != values:
            missing, duplicates = len(set(values) - set(arrived)), len(arrived) - len(set(arrived))
            order = "" if missing or duplicates else ", out of order"
            faults.append(f"{kind}: {missing} missing, {duplicates} duplicates{order}")
    if len({event.id for event in events}) != len(events):
        faults.append("an event ID arrived twice")
    started: set[int] = set()
    for event in events:
        if event.kind == "step":
            started.add(event.data["number"])
        elif event.kind == "step_ended" and event.data["number"] not in started:
            faults.append(f"step {event.data['number']} ended before it started")
    return faults


def event_delays(task: dict[str, Any], events: list[ReceivedEvent]) -> list[float]:
    """Return the seconds from the end of each step to the arrival of its event."""
    ends = {
        step["number"]: datetime.fromisoformat(step["started_at"])
        + timedelta(seconds=step["seconds"])
        for step in task["steps"]
    }
    ended = [event for event in events if event.kind == "step_ended"]
    return [(event.arrived_at - ends[event.data["number"]]).total_seconds() for event in ended]


def print_result(task: dict[str, Any], events: list[ReceivedEvent]) -> bool:
    """Compare the events with the task and print the result; return True without faults."""
    faults = find_faults(expected_values(task), received_values(events), events)
    delays = sorted(event_delays(task, events))
    print(f"{task['state']}: {len(task['steps'])} steps, {len(task['log'])} lines of log")
    print(f"{len(events)} events, {len(faults)} faults", *faults, sep="\n  ")
    with contextlib.suppress(statistics.StatisticsError, IndexError):
        p50, p99 = statistics.median(delays), delays[int(len(delays) * 0.99)]
        print(f"from the end of a step to its event: p50 {p50:.2f} s, p99 {p99:.2f} s")
    return not faults


def main() -> None:
    """Run the operation, watch it, compare the events and print the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.watch", description=__doc__)
    parser.add_argument(
        "-m", "--minutes", type=float, default=30, help="duration of the operation (30)"
    )
    parser.add_argument(
        "-c", "--cuts", type=int, default=10, help="number of lost connections (10)"
    )
    arguments = parser.parse_args()
    steps = int(arguments.minutes * 60 / STEP_SECONDS)
    cuts = sorted(random.uniform(0, arguments.minutes * 60) for _ in range(arguments.cuts))
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        start_site(Path(folder), OPERATORS_PATH=str(OPERATORS)) as site,
        httpx.Client(
            base_url=f"http://127.0.0.1:{site.port}",
            headers={"Authorization": f"Bearer {site.token}"},
            timeout=60,
            trust_env=False,
        ) as http,
    ):
        options = {"steps": steps, "seconds": STEP_SECONDS}
        headers = {"Prefer": "respond-async"}
        task_id = http.post("/mysite/opn/narrate", json=options, headers=headers).json()["task"]
        began = time.monotonic()
        watcher = TaskWatcher(http, task_id)
        for cut in [*cuts, float("inf")]:
            if not watcher.is_done:
                watcher.watch(cut - (time.monotonic() - began))
        seconds = time.monotonic() - began
        task = http.get(f"/tasks/{task_id}").raise_for_status().json()
    print(f"watched for {seconds / 60:.1f} min; connection cut {watcher.connections - 1} times")
    is_complete = print_result(task, watcher.events)
    sys.exit(not is_complete or task["state"] != "succeeded")


if __name__ == "__main__":
    main()
