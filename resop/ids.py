"""Ids begin with the time that they were made at, so that an index on them serves for it."""

from __future__ import annotations

from datetime import datetime


def first_id(moment: datetime) -> str:
    """What no id made from that millisecond on stands before (UUID 7, RFC 9562)."""
    milliseconds = f"{max(0, int(moment.timestamp() * 1000)):012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}"
