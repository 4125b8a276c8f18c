"""Ids of tasks that were made at some other time, or one after the other."""

from datetime import datetime, timedelta
from itertools import count

import uuid_utils

from resop.storage.models import now

_BEGAN = now()
_MILLISECONDS = count()


def id_of(moment: datetime) -> str:
    """A UUID version 7 of that millisecond."""
    milliseconds = f"{int(moment.timestamp() * 1000):012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}{str(uuid_utils.uuid7())[13:]}"


def next_id() -> str:
    """A later one each time; those that are really made have no order within a millisecond."""
    return id_of(_BEGAN + timedelta(milliseconds=next(_MILLISECONDS)))
