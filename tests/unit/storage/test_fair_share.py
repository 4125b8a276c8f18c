"""Turns are fair to users first, then to their batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from resop.storage.fair_share import LONG_AGO, BatchShare, next_batch

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def lane(batch: str, in_flight: int = 0, at_once: int | None = None, ago: float = 0) -> BatchShare:
    """A batch `ada1` is one of ada's; one that had its turn so many seconds before noon."""
    dealt_at = NOON - timedelta(seconds=ago) if ago else LONG_AGO
    return BatchShare(batch, batch[:-1], "hpc", at_once, in_flight, dealt_at)


def turns(lanes: Sequence[BatchShare], places: int) -> list[str]:
    """The batches that have a turn before all have to wait; each turn takes a place."""
    lanes = [replace(each) for each in lanes]
    had: list[str] = []
    while (chosen := next_batch(lanes, places)) and len(had) < 50:
        chosen.in_flight += 1
        chosen.dispatched_at = NOON + timedelta(seconds=len(had))
        had.append(chosen.batch)
    return had


def test_places_are_shared_by_users_then_by_their_batches() -> None:
    had = turns([lane("ada1"), lane("ada2"), lane("ada3"), lane("eve1")], 12)
    assert Counter(had) == {"ada1": 2, "ada2": 2, "ada3": 2, "eve1": 6}
    assert had[:4] == ["ada1", "eve1", "ada2", "eve1"]


def test_who_comes_later_gets_the_next_places_until_both_have_as_many() -> None:
    assert turns([lane("ada1", 6, ago=5), lane("eve1")], 10) == ["eve1"] * 4
    assert turns([lane("ada1", 10, ago=5), lane("ada2")], 12) == ["ada2"] * 2


def test_at_once_is_the_most_of_a_batch_and_others_take_what_it_leaves() -> None:
    assert Counter(turns([lane("ada1", at_once=1), lane("ada2"), lane("eve1", 1, 3)], 8)) == {
        "ada1": 1,
        "ada2": 4,
        "eve1": 2,
    }


def test_with_one_place_the_turn_goes_round() -> None:
    lanes = [lane("ada1", ago=1), lane("ada2", ago=3), lane("eve1", ago=2)]
    had: list[str] = []
    for number in range(6):
        chosen = next_batch(lanes, 1)
        assert chosen is not None
        chosen.dispatched_at = NOON + timedelta(seconds=number)  # and it ends before the next
        had.append(chosen.batch)
    assert had == ["eve1", "ada2", "eve1", "ada1", "eve1", "ada2"]


def test_user_with_nothing_in_flight_does_not_wait_for_the_long_tasks_of_another() -> None:
    assert turns([lane("ada1", 8), lane("eve1"), lane("eve2")], 8) == ["eve1"]
    assert turns([lane("ada1", 8), lane("ada2")], 8) == []


def test_batch_that_is_empty_has_no_turn_but_its_places_still_count() -> None:
    lanes = [replace(lane("ada1", 3), empty=True), lane("eve1")]
    assert turns(lanes, 5) == ["eve1", "eve1"]
    assert next_batch([], 5) is None
