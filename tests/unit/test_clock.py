"""The service's clock: the database's time, whatever the machine's clock says or does."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from resop.clock import SYNC_SECONDS, Clock, now, unix_time
from resop.storage import ids


class Machine:
    """A machine whose clock is set by hand."""

    def __init__(self) -> None:
        self.elapsed = 1000.0
        self.clock = 1_800_000_000.0

    def pass_seconds(self, seconds: float) -> None:
        self.elapsed += seconds
        self.clock += seconds


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(time, "time", lambda: made.clock)
    monkeypatch.setattr(Clock, "elapsed", staticmethod(lambda: made.elapsed))
    return made


def test_without_a_database_it_is_the_machines_clock(machine: Machine) -> None:
    clock = Clock()
    assert clock.time() == machine.clock and clock.is_due and clock.skew == 0
    machine.clock += 90
    assert clock.time() == machine.clock


def test_time_is_the_databases_for_any_skew_and_any_jump_of_the_machine(machine: Machine) -> None:
    for skew in (31.0, 90.0, -90.0, 0.4, -86_400.0):
        clock, database = Clock(), machine.clock - skew
        clock.set(database, machine.elapsed)
        assert clock.time() == pytest.approx(database)
        assert clock.skew == pytest.approx(skew)
        machine.pass_seconds(5)
        machine.clock += 3600  # a step of NTP, or a virtual machine that was suspended
        assert clock.time() == pytest.approx(database + 5)
        machine.clock -= 3600


def test_database_is_asked_now_and_then(machine: Machine) -> None:
    clock = Clock()
    clock.set(machine.clock, machine.elapsed)
    assert not clock.is_due
    machine.pass_seconds(SYNC_SECONDS)
    assert clock.is_due


def test_slow_answer_costs_half_of_its_time_and_a_fast_one_mends_that(machine: Machine) -> None:
    clock = Clock()
    asked_at, answer = machine.elapsed, machine.clock
    machine.pass_seconds(2)
    clock.set(answer, asked_at)  # the database read its clock at once, and the answer took 2 s
    assert clock.time() == pytest.approx(machine.clock - 1)
    clock.set(machine.clock, machine.elapsed)
    assert clock.time() == pytest.approx(machine.clock)


def test_errors_of_the_measurement_do_not_move_the_clock(machine: Machine) -> None:
    clock = Clock()
    clock.set(machine.clock, machine.elapsed)
    for error in (0.04, -0.04, 0.01):
        clock.set(machine.clock + error, machine.elapsed)
        assert clock.time() == pytest.approx(machine.clock, abs=1e-6)


def test_failover_to_a_database_with_another_clock_is_followed(machine: Machine) -> None:
    clock = Clock()
    clock.set(machine.clock, machine.elapsed)
    clock.set(machine.clock - 90, machine.elapsed)
    assert clock.time() == pytest.approx(machine.clock - 90)


def test_ids_carry_the_databases_time_and_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    for skew in (90.0, -90.0, 0.5):
        clock = Clock()
        monkeypatch.setattr(ids, "CLOCK", clock)
        clock.set(time.time() - skew, clock.elapsed())
        made = [ids.new_id() for _ in range(500)]
        assert made == sorted(made) and len(set(made)) == len(made)
        told = datetime.fromtimestamp(clock.time(), UTC) - ids.creation_time(made[-1])
        assert abs(told) < timedelta(seconds=2), skew


def test_module_functions_agree() -> None:
    assert abs(now().timestamp() - unix_time()) < 1 and now().tzinfo is UTC
