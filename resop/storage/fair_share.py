"""Fair scheduling of batch tasks: choose the batch to dispatch from next.

Balances users first, then the batches of a user, by the number of their tasks in flight. Counting
turns instead would let one user's long tasks take all slots from the short tasks of another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class BatchShare:
    """The share of a cluster's slots that one open batch has."""

    batch: str
    username: str
    cluster: str
    at_once: int | None
    """The maximum number of its tasks in flight; None if the batch has no limit."""
    in_flight: int = 0
    """The number of its tasks that are dispatched and have not ended."""
    dispatched_at: datetime = LONG_AGO
    """The time at which one of its tasks was last dispatched."""
    empty: bool = False
    """True once it is known to have no task left to dispatch."""


def next_batch(shares: Sequence[BatchShare], slots: int) -> BatchShare | None:
    """Return the share of one cluster to dispatch from next, or None when all must wait.

    At most `slots` tasks are in flight, except that every user may have one: a user with none
    does not wait for the long tasks of others to end. The user with the fewest tasks in flight
    comes first, among equals the one who has waited longest; likewise among a user's batches.
    """
    in_flight = Counter[str]()
    dispatched_at: dict[str, datetime] = {}
    for share in shares:
        in_flight[share.username] += share.in_flight
        dispatched_at[share.username] = max(
            dispatched_at.get(share.username, LONG_AGO), share.dispatched_at
        )
    full = in_flight.total() >= slots
    return min(
        (
            share
            for share in shares
            if _may_dispatch(share) and not (full and in_flight[share.username])
        ),
        key=lambda share: (
            *(in_flight[share.username], dispatched_at[share.username]),
            *(share.in_flight, share.dispatched_at, share.batch),
        ),
        default=None,
    )


def _may_dispatch(share: BatchShare) -> bool:
    return not share.empty and (share.at_once is None or share.in_flight < share.at_once)
