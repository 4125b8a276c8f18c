"""`python -m bench.watch`: a long routine watched live over a connection that is cut at random.

The watcher goes on with `Last-Event-ID`, as browsers do. At the end every event is held against
the task's record: each has to have come once, in order. Exits with 1 when one has not.
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

from bench.site import site

OPERATORS = Path(__file__).parents[1] / "tests" / "acceptance" / "operators"
STEP_SECONDS = 0.5


class Event(NamedTuple):
    """An event, and when it arrived."""

    id: str
    kind: str
    data: dict[str, Any]
    at: datetime


@dataclass(slots=True)
class Watcher:
    """One who watches a task to its end, whatever becomes of the connection."""

    http: httpx.Client
    task: str
    seen: list[Event] = field(default_factory=list)
    connections: int = 0

    def watch(self, seconds: float) -> None:
        """Watch for so long, then lose the connection in the middle of what comes next."""
        self.connections += 1
        headers = {"Last-Event-ID": self.seen[-1].id} if self.seen else None
        with self.http.stream("GET", f"/tasks/{self.task}/events", headers=headers) as answer:
            answer.raise_for_status()
            text = b""
            for chunk in _cut(answer.iter_raw(), seconds):
                *whole, text = (text + chunk).split(b"\n\n")
                self.seen += [event for each in whole if (event := _event(each.decode()))]

    @property
    def done(self) -> bool:
        """Whether the last event has come."""
        return bool(self.seen) and self.seen[-1].kind == "done"


def _cut(chunks: Iterator[bytes], seconds: float) -> Iterator[bytes]:
    over = time.monotonic() + seconds
    for chunk in chunks:
        if time.monotonic() > over:
            yield chunk[: random.randrange(len(chunk))]
            return
        yield chunk


def _event(text: str) -> Event | None:
    fields = dict(line.split(": ", 1) for line in text.splitlines() if not line.startswith(":"))
    if "data" not in fields:
        return None
    return Event(fields["id"], fields["event"], json.loads(fields["data"]), datetime.now(UTC))


def expected(record: dict[str, Any]) -> dict[str, list[Any]]:
    """What has to have come of each kind, in order; the steps ran one after the other."""
    numbers = [step["number"] for step in record["steps"]]
    return {
        "state": ["queued", "running"],
        "log": list(enumerate(record["log"], 1)),
        "step": numbers,
        "step_ended": numbers,
        "done": [record["state"]],
    }


def received(seen: list[Event]) -> dict[str, list[Any]]:
    """What has come of each kind, in the order in which it came."""
    named: dict[str, Callable[[Any], Any]] = {
        "state": lambda data: data["state"],
        "log": lambda data: (data["line"], data["text"]),
        "step": lambda data: data["number"],
        "step_ended": lambda data: data["number"],
        "done": lambda data: data["state"],
    }
    return {kind: [of(e.data) for e in seen if e.kind == kind] for kind, of in named.items()}


def faults(wanted: dict[str, list[Any]], got: dict[str, list[Any]], seen: list[Event]) -> list[str]:
    """What is wrong with what has come, in words."""
    found = []
    for kind, all_of_it in wanted.items():
        if (came := got[kind]) != all_of_it:
            missing, twice = len(set(all_of_it) - set(came)), len(came) - len(set(came))
            order = "" if missing or twice else ", out of order"
            found.append(f"{kind}: {missing} missing, {twice} twice{order}")
    if len({event.id for event in seen}) != len(seen):
        found.append("an id came twice")
    begun: set[int] = set()
    for event in seen:
        if event.kind == "step":
            begun.add(event.data["number"])
        elif event.kind == "step_ended" and event.data["number"] not in begun:
            found.append(f"step {event.data['number']} ended before it began")
    return found


def lags(record: dict[str, Any], seen: list[Event]) -> list[float]:
    """Seconds from the end of each step to the arrival of its event."""
    ends = {
        step["number"]: datetime.fromisoformat(step["started_at"])
        + timedelta(seconds=step["seconds"])
        for step in record["steps"]
    }
    ended = [event for event in seen if event.kind == "step_ended"]
    return [(event.at - ends[event.data["number"]]).total_seconds() for event in ended]


def main() -> None:
    """Run the routine, watch it, compare, print."""
    parser = argparse.ArgumentParser(prog="bench.watch", description=__doc__)
    parser.add_argument("-m", "--minutes", type=float, default=30)
    parser.add_argument("-c", "--cuts", type=int, default=10)
    arguments = parser.parse_args()
    steps = int(arguments.minutes * 60 / STEP_SECONDS)
    # So many moments in its time, at random: from one to the next a connection lasts.
    moments = sorted(random.uniform(0, arguments.minutes * 60) for _ in range(arguments.cuts))
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        site(Path(folder), OPERATORS_PATH=str(OPERATORS)) as here,
        httpx.Client(
            base_url=f"http://127.0.0.1:{here.port}",
            headers={"Authorization": f"Bearer {here.token}"},
            timeout=60,
            trust_env=False,
        ) as http,
    ):
        options = {"steps": steps, "seconds": STEP_SECONDS}
        how = {"Prefer": "respond-async"}
        task = http.post("/mysite/opn/narrate", json=options, headers=how).json()["task"]
        began = time.monotonic()
        watcher = Watcher(http, task)
        for moment in [*moments, float("inf")]:
            if not watcher.done:
                watcher.watch(moment - (time.monotonic() - began))
        took = time.monotonic() - began
        record = http.get(f"/tasks/{task}").raise_for_status().json()
    wrong = faults(expected(record), received(watcher.seen), watcher.seen)
    delays = sorted(lags(record, watcher.seen))
    print(f"{record['state']}: {len(record['steps'])} steps, {len(record['log'])} lines of log")
    print(f"watched for {took / 60:.1f} min; cut {watcher.connections - 1} times")
    print(f"{len(watcher.seen)} events, {len(wrong)} faults", *wrong, sep="\n  ")
    with contextlib.suppress(statistics.StatisticsError, IndexError):
        middle, late = statistics.median(delays), delays[int(len(delays) * 0.99)]
        print(f"from the end of a step to its event: p50 {middle:.2f} s, p99 {late:.2f} s")
    sys.exit(bool(wrong) or record["state"] != "succeeded")


if __name__ == "__main__":
    main()
