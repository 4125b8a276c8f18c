"""Turns are fair to users first, then to their batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from resop.storage.fair_share import LONG_AGO, BatchShare, next_batch

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def share(batch: str, in_flight: int = 0, at_once: int | None = None, ago: float = 0) -> BatchShare:
    """Return a share of batch `ada1`, which is ada's, last dispatched `ago` seconds before noon."""
    dispatched_at = NOON - timedelta(seconds=ago) if ago else LONG_AGO
    return BatchShare(batch, batch[:-1], "hpc", at_once, in_flight, dispatched_at)


def turns(shares: Sequence[BatchShare], slots: int) -> list[str]:
    """Return the batches in the order of their turns, until all must wait; each takes a slot."""
    shares = [replace(each) for each in shares]
    turns_taken: list[str] = []
    while (chosen := next_batch(shares, slots)) and len(turns_taken) < 50:
        chosen.in_flight += 1
        chosen.dispatched_at = NOON + timedelta(seconds=len(turns_taken))
        turns_taken.append(chosen.batch)
    return turns_taken


def test_slots_are_shared_by_users_then_by_their_batches() -> None:
    turns_taken = turns([share("ada1"), share("ada2"), share("ada3"), share("eve1")], 12)
    assert Counter(turns_taken) == {"ada1": 2, "ada2": 2, "ada3": 2, "eve1": 6}
    assert turns_taken[:4] == ["ada1", "eve1", "ada2", "eve1"]


def test_later_user_gets_the_next_slots_until_both_have_equally_many() -> None:
    assert turns([share("ada1", 6, ago=5), share("eve1")], 10) == ["eve1"] * 4
    assert turns([share("ada1", 10, ago=5), share("ada2")], 12) == ["ada2"] * 2


def test_at_once_limits_a_batch_and_others_get_the_remaining_slots() -> None:
    assert Counter(turns([share("ada1", at_once=1), share("ada2"), share("eve1", 1, 3)], 8)) == {
        "ada1": 1,
        "ada2": 4,
        "eve1": 2,
    }


def test_one_slot_goes_to_each_batch_in_turn() -> None:
    shares = [share("ada1", ago=1), share("ada2", ago=3), share("eve1", ago=2)]
    turns_taken: list[str] = []
    for number in range(6):
        chosen = next_batch(shares, 1)
        assert chosen is not None
        chosen.dispatched_at = NOON + timedelta(seconds=number)  # and it ends before the next
        turns_taken.append(chosen.batch)
    assert turns_taken == ["eve1", "ada2", "eve1", "ada1", "eve1", "ada2"]


def test_user_with_nothing_in_flight_does_not_wait_for_the_long_tasks_of_another() -> None:
    assert turns([share("ada1", 8), share("eve1"), share("eve2")], 8) == ["eve1"]
    assert turns([share("ada1", 8), share("ada2")], 8) == []


def test_empty_batch_gets_no_turn_but_its_slots_still_count() -> None:
    shares = [replace(share("ada1", 3), empty=True), share("eve1")]
    assert turns(shares, 5) == ["eve1", "eve1"]
    assert next_batch([], 5) is None
