"""Ids that sort by their creation time: UUIDs of version 7 (RFC 9562)."""

from __future__ import annotations

from datetime import UTC, datetime

import uuid_utils


def new_id() -> str:
    """Return a new unique id."""
    return str(uuid_utils.uuid7())


def creation_time(id: str) -> datetime:
    """Return the creation time of an id, to the millisecond."""
    return datetime.fromtimestamp(uuid_utils.UUID(id).timestamp / 1000, UTC)


def lower_bound(moment: datetime) -> str:
    """Return the smallest id that can be created at `moment`, to the millisecond.

    The inclusive lower bound of a range query.
    """
    milliseconds = f"{max(0, int(moment.timestamp() * 1000)):012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}"
