"""Ids that begin with the time they were made at: UUIDs of version 7 (RFC 9562)."""

from __future__ import annotations

from datetime import UTC, datetime

import uuid_utils


def new_id() -> str:
    """An id that nothing else has."""
    return str(uuid_utils.uuid7())


def creation_time(id: str) -> datetime:
    """When an id was made, to the millisecond."""
    return datetime.fromtimestamp(uuid_utils.UUID(id).timestamp / 1000, UTC)


def lower_bound(moment: datetime) -> str:
    """What no id made from that millisecond on stands before."""
    milliseconds = f"{max(0, int(moment.timestamp() * 1000)):012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}"
