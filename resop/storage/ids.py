"""Ids that sort by their creation time: UUIDs of version 7 (RFC 9562)."""

from __future__ import annotations

from datetime import UTC, datetime

import uuid_utils

from resop.clock import CLOCK

_TIME_SHIFT = 80
"""The bits of an id that follow its time in milliseconds."""


def new_id() -> str:
    """Return a new unique id."""
    made = uuid_utils.uuid7()
    if CLOCK.id_shift:
        made = uuid_utils.UUID(int=made.int + (CLOCK.id_shift << _TIME_SHIFT))
    return str(made)


def creation_time(id: str) -> datetime:
    """Return the creation time of an id, to the millisecond."""
    return datetime.fromtimestamp(uuid_utils.UUID(id).timestamp / 1000, UTC)


def lower_bound(moment: datetime) -> str:
    """Return the smallest id that can be created at `moment`, to the millisecond.

    The inclusive lower bound of a range query.
    """
    milliseconds = f"{max(0, int(moment.timestamp() * 1000)):012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}"
