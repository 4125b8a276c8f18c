"""IDs of tasks with a given creation time, or with increasing creation times."""

from datetime import datetime, timedelta
from itertools import count

import uuid_utils

from resop.storage.models import now

_FIRST_TIME = now()
_MILLISECONDS = count()


def id_of(moment: datetime) -> str:
    """Create a UUID version 7 with the millisecond of `moment`."""
    milliseconds = f"{int(moment.timestamp() * 1000):012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}{str(uuid_utils.uuid7())[13:]}"


def next_id() -> str:
    """Create an ID later than all before it; real IDs are unordered within a millisecond."""
    return id_of(_FIRST_TIME + timedelta(milliseconds=next(_MILLISECONDS)))
