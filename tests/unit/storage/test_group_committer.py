"""Group commit: everything that arrived is committed together, in order, and nothing is lost."""

import threading
import time
from collections.abc import Callable, Sequence

import pytest

from resop.storage.group_committer import GroupCommitter


class Log:
    """The arguments of a committer's callables."""

    def __init__(self) -> None:
        self.committed: list[list[str]] = []
        self.finished: list[list[str]] = []
        self.rejected: list[tuple[str, str]] = []

    def commit(self, group: Sequence[str]) -> None:
        if "bad" in group:
            raise ValueError("refused")
        self.committed.append(list(group))

    def finish(self, group: Sequence[str]) -> None:
        self.finished.append(list(group))

    def reject(self, item: str, fault: Exception) -> None:
        self.rejected.append((item, str(fault)))


@pytest.fixture
def log() -> Log:
    return Log()


def test_items_that_arrived_are_committed_together_and_the_rest_in_the_next_group(
    log: Log,
) -> None:
    committer = GroupCommitter("test", log.commit, max_items=3, finish=log.finish)
    for item in "abcde":
        committer.put(item)
    committer.start()
    assert committer.stop(5)
    assert log.committed == log.finished == [["a", "b", "c"], ["d", "e"]]


def test_refused_item_does_no_harm_to_the_others(log: Log) -> None:
    committer = GroupCommitter(
        "test", log.commit, max_items=9, reject=log.reject, finish=log.finish
    )
    for item in ("a", "bad", "b"):
        committer.put(item)
    committer.start()
    assert committer.stop(5)
    assert log.committed == [["a"], ["b"]]
    assert log.rejected == [("bad", "refused")]
    assert log.finished == [["a", "bad", "b"]]


@pytest.mark.parametrize("broken", ["commit", "reject", "finish", "poll"])
def test_thread_survives_a_fault_in_each_callable(log: Log, broken: str) -> None:
    faults = iter([ValueError("ours")])

    def breaking(method: Callable[..., None]) -> Callable[..., None]:
        def call(*values: object) -> None:
            method(*values)
            for fault in faults:
                raise fault

        return call

    callables: dict[str, Callable[..., None]] = {
        "commit": log.commit,
        "reject": log.reject,
        "finish": log.finish,
        "poll": lambda: None,
    }
    callables[broken] = breaking(callables[broken])
    if broken == "commit":
        del callables["reject"]
    committer = GroupCommitter("test", max_items=1, **callables)  # type: ignore[arg-type]
    for item in ("bad", "a", "b"):
        committer.put(item)
    committer.start()
    assert committer.stop(5)
    assert next(faults, None) is None
    assert log.committed[-1] == ["b"]


def test_item_that_is_not_urgent_lingers_and_an_urgent_one_takes_it_along(log: Log) -> None:
    committer = GroupCommitter("test", log.commit, max_items=9, linger_seconds=60)
    committer.start()
    committer.put("a", urgent=False)
    committer.put("b", urgent=False)
    time.sleep(0.05)
    assert log.committed == []
    committer.put("c")
    committer.put("d", urgent=False)
    _wait(lambda: bool(log.committed))
    assert log.committed[0][:3] == ["a", "b", "c"]
    assert committer.stop(5)
    assert [item for group in log.committed for item in group] == ["a", "b", "c", "d"]


def test_lingering_ends_after_its_time_or_when_the_group_is_full(log: Log) -> None:
    committer = GroupCommitter("test", log.commit, max_items=2, linger_seconds=0.2)
    committer.start()
    began = time.monotonic()
    for item in "abc":
        committer.put(item, urgent=False)
    _wait(lambda: bool(log.committed))
    assert log.committed == [["a", "b"]] and time.monotonic() - began < 0.2
    _wait(lambda: len(log.committed) == 2)
    assert log.committed[1] == ["c"]
    assert committer.stop(5)


def test_urgent_item_behind_a_full_group_does_not_linger(log: Log) -> None:
    committer = GroupCommitter("test", log.commit, max_items=2, linger_seconds=60)
    for item in "abcd":
        committer.put(item, urgent=False)
    committer.put("e")
    committer.start()
    _wait(lambda: len(log.committed) == 3)
    assert log.committed == [["a", "b"], ["c", "d"], ["e"]]
    assert committer.stop(5)


def test_poll_is_called_again_after_the_time_it_asks_for(log: Log) -> None:
    waits = iter([0.01, 0.01, None])
    calls = []

    def poll() -> float | None:
        calls.append(time.monotonic())
        return next(waits, None)

    committer = GroupCommitter("test", log.commit, max_items=9, poll=poll)
    committer.start()
    committer.put("a")
    _wait(lambda: len(calls) == 3)
    time.sleep(0.05)
    assert len(calls) == 3 and log.committed == [["a"]]
    assert committer.stop(5)


def test_stop_says_whether_everything_was_committed() -> None:
    busy = threading.Event()

    def commit(_: Sequence[str]) -> None:
        busy.wait(5)

    committer = GroupCommitter("test", commit, max_items=9)
    committer.start()
    committer.put("a")
    assert not committer.stop(0.01)
    busy.set()
    assert committer.stop(5)


def _wait(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within 5 s")
