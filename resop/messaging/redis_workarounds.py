"""Work around one fault of redis-py on Python 3.11: everything here that depends on its insides.

redis-py sends with `asyncio.wait_for`, which in Python 3.11 loses a cancellation that arrives as
the sending ends (fixed in 3.12). A login or a request that was cancelled, or whose time was up,
then continued.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from redis.asyncio.connection import AbstractConnection

_send_packed_command: Any = AbstractConnection.send_packed_command


async def _send_or_be_cancelled(self: Any, *args: Any, **options: Any) -> None:
    """Send a command; raise CancelledError if the task was cancelled meanwhile."""
    task = asyncio.current_task()
    cancelled_before = task.cancelling() if task else 0
    await _send_packed_command(self, *args, **options)
    if task and task.cancelling() > cancelled_before:
        await self.disconnect(nowait=True)  # the answer, which nobody will read, is on its way
        raise asyncio.CancelledError


def keep_cancellations() -> None:
    """Repair all connections of this process."""
    if sys.version_info < (3, 12):
        AbstractConnection.send_packed_command = _send_or_be_cancelled  # type: ignore[method-assign]
