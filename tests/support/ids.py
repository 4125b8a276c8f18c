"""Ids of tasks that were made at some other time."""

from datetime import datetime

import uuid_utils


def id_of(moment: datetime) -> str:
    """A UUID version 7 of that millisecond."""
    milliseconds = f"{int(moment.timestamp() * 1000):012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}{str(uuid_utils.uuid7())[13:]}"
