"""Dead workers are found without comparing the clocks of two machines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from worker.heartbeats import HeartbeatWatch

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
