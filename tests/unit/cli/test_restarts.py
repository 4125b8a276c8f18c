"""Children that end are started again, with growing pauses and a limit."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from cli.child_processes import ChildProcess, cause_of_end
from cli.restarts import PAUSES, STEADY_SECONDS, RestartedChild
from resop.errors import SetupError


class FakeChild(ChildProcess):
    """A child that ends when the test says so."""

    def __init__(self, log: Path) -> None:
        process: Any = type("Process", (), {"returncode": -9, "poll": lambda _: None})()
        super().__init__("worker", ["worker"], {}, process, log, 0)
        self.starts = 1
        self.has_ended = False

    @property
    def ended(self) -> bool:
        return self.has_ended

    def restart(self) -> None:
        self.starts += 1
        self.has_ended = False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def child(tmp_path: Path) -> FakeChild:
    log = tmp_path / "resop.log"
    log.write_text("")
    return FakeChild(log)


def test_cause_of_an_end_has_all_lines_of_the_message_once(child: FakeChild) -> None:
    child.log.write_text(
        "resop api: a.yml:1: x\nresop api: b.yml:2: y\nresop worker: a.yml:1: x\n\nresop: z\n"
    )
    assert cause_of_end(child) == "a.yml:1: x\nb.yml:2: y"


def test_each_restart_in_a_row_waits_longer_and_the_last_end_is_reported(
    child: FakeChild, clock: list[float]
) -> None:
    said: list[str] = []
    restarted = RestartedChild(child, said.append)
    restarted.check()
    assert (child.starts, said) == (1, [])
    for number, pause in enumerate(PAUSES, start=1):
        child.has_ended = True
        restarted.check()
        clock[0] += pause - 0.1
        restarted.check()
        assert child.starts == number, "the pause is not over"
        clock[0] += 0.2
        restarted.check()
        assert child.starts == number + 1
        assert said[-1].endswith(f"worker is restarted in {pause:g} s ({number} of {len(PAUSES)})")
    assert said[0].startswith("worker was ended by SIGKILL (log: ")
    child.has_ended = True
    with pytest.raises(SetupError, match=f"SIGKILL .*; it was restarted {len(PAUSES)} times in a"):
        restarted.check()


def test_child_that_ran_well_for_a_while_is_restarted_at_once(
    child: FakeChild, clock: list[float]
) -> None:
    said: list[str] = []
    restarted = RestartedChild(child, said.append)
    for _ in range(3 * len(PAUSES)):
        clock[0] += STEADY_SECONDS
        child.has_ended = True
        restarted.check()
        clock[0] += PAUSES[0]
        restarted.check()
        assert not child.has_ended and "(1 of" in said[-1]
