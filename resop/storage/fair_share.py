"""Whose turn it is: which batch the next task is dealt from, fair to users, then to batches.

Turns go by what is in flight, not by how often somebody had one: long tasks of one user would
else take all places from the short ones of another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class BatchShare:
    """A batch that may have tasks to deal out."""

    batch: str
    username: str
    cluster: str
    at_once: int | None
    """The most of its tasks in flight; None for no limit of its own."""
    in_flight: int = 0
    """Tasks that are dealt out and have not ended."""
    dispatched_at: datetime = LONG_AGO
    """When it last had its turn."""
    empty: bool = False
    """Whether it was found to have nothing to deal out."""


def next_batch(lanes: Sequence[BatchShare], places: int) -> BatchShare | None:
    """The lane of one cluster whose turn it is, None when all have to wait.

    At most `places` tasks are in flight, except that each user may have one: who has none does
    not wait until somebody's long tasks end. First comes the user with the fewest in flight,
    among equals who waited longest; of a user's batches likewise.
    """
    held = Counter[str]()
    dispatched_at: dict[str, datetime] = {}
    for lane in lanes:
        held[lane.username] += lane.in_flight
        dispatched_at[lane.username] = max(
            dispatched_at.get(lane.username, LONG_AGO), lane.dispatched_at
        )
    full = held.total() >= places
    return min(
        (lane for lane in lanes if _may(lane) and not (full and held[lane.username])),
        key=lambda lane: (
            *(held[lane.username], dispatched_at[lane.username]),
            *(lane.in_flight, lane.dispatched_at, lane.batch),
        ),
        default=None,
    )


def _may(lane: BatchShare) -> bool:
    return not lane.empty and (lane.at_once is None or lane.in_flight < lane.at_once)
