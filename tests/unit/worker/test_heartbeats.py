"""Heartbeats are written whatever else a worker waits for, and dead workers are found by them.

No clocks of two machines are compared.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from resop.errors import RecordsUnavailable
from resop.storage.database import Database
from resop.storage.workers import WorkerStore
from tests.support.services import eventually
from worker import heartbeats, recovery
from worker.heartbeats import Heartbeat, HeartbeatWatch
from worker.recovery import Recovery

DEAD, BEAT = 30.0, 10.0
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Others:
    """The heartbeats of other workers, seen by a watch whose own clock is set by hand."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.beats: dict[str, datetime | None] = {}
        self.watch = HeartbeatWatch(lambda: self.elapsed)

    def dead_after(self, seconds: float) -> list[str]:
        self.elapsed += seconds
        self.watch.look(lambda: dict(self.beats))
        return self.watch.silent(DEAD)


@pytest.fixture
def others() -> Others:
    return Others()


def test_worker_that_beats_is_alive_whatever_its_clock_says(others: Others) -> None:
    for beat in range(20):
        jump = 3600 if beat > 10 else 0  # NTP, or a virtual machine that was suspended
        for skew in (31, 90, -90, 86_400 * 365, -86_400 * 365):
            others.beats[f"skew {skew}"] = EPOCH + timedelta(seconds=skew + beat * BEAT - jump)
        assert others.dead_after(BEAT) == []


def test_worker_is_dead_when_its_heartbeat_stays_the_same(others: Others) -> None:
    others.beats = {"dead": EPOCH + timedelta(days=1), "unknown": None, "alive": EPOCH}
    for number in range(1, 4):
        assert others.dead_after(BEAT) == []
        others.beats["alive"] = EPOCH + timedelta(seconds=number)
    assert others.dead_after(BEAT) == ["dead", "unknown"]
    others.beats["dead"] = EPOCH  # it was only suspended
    assert others.dead_after(BEAT) == ["unknown"]


def test_new_watch_and_one_that_was_away_wait_before_they_judge(others: Others) -> None:
    others.beats = {"silent": EPOCH}
    assert others.dead_after(1000) == []
    others.dead_after(DEAD)
    others.watch.forget()
    assert others.dead_after(1000) == []
    assert others.dead_after(DEAD) == ["silent"]


def test_suspension_in_the_middle_of_a_look_makes_nobody_dead(others: Others) -> None:
    others.beats = {"alive": EPOCH}
    others.dead_after(BEAT)

    def read() -> dict[str, datetime | None]:
        others.elapsed += 600  # this machine sleeps, and the other continues
        return dict(others.beats)

    others.watch.look(read)
    assert others.watch.silent(DEAD) == []


# -- the own heartbeat


def test_heartbeat_is_written_until_the_worker_ends_whatever_the_database_does(
    worker_store: WorkerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "HEARTBEAT_SECONDS", 0.01)
    heartbeat = Heartbeat("w", worker_store)
    heartbeat.start()
    first = worker_store.heartbeats()["w"]
    assert eventually(lambda: worker_store.heartbeats()["w"] != first, 5)
    write, faults = worker_store.heartbeat, iter([RecordsUnavailable(), ValueError("a fault")])

    def fail_twice(worker: str) -> None:
        if (fault := next(faults, None)) is not None:
            raise fault
        write(worker)

    monkeypatch.setattr(worker_store, "heartbeat", fail_twice)
    assert eventually(lambda: next(faults, None) is None, 5)
    before = heartbeat.written_at
    assert eventually(lambda: heartbeat.written_at > before, 5)
    heartbeat.stop()
    assert worker_store.heartbeats() == {}


@pytest.mark.parametrize(("own_age", "found"), [(0, ["another"]), (100, [])])
def test_silence_counts_only_while_the_own_heartbeat_is_written(
    database: Database,
    worker_store: WorkerStore,
    monkeypatch: pytest.MonkeyPatch,
    own_age: float,
    found: list[str],
) -> None:
    """If the database takes no writes, the other workers cannot write theirs either."""
    monkeypatch.setattr(recovery, "DEAD_SECONDS", 0)
    own: Any = SimpleNamespace(written_at=time.monotonic() - own_age)
    nothing: Any = None
    round_of_repairs = Recovery("w", own, database, nothing, nothing, [])
    worker_store.heartbeat("another")
    for _ in range(2):
        round_of_repairs._look()
        time.sleep(0.01)
    silent = round_of_repairs._heartbeats.silent(0.005)
    assert silent == found
