"""Wait for the only channel of a connection: sshd counts one as open shortly after its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import asyncssh

from resop.ssh.exec_channel import ChannelRefused
from resop.steps.output import RawResult

RETRY_PAUSE = 0.02
"""Seconds before the first retry; doubled with each further one."""
RETRY_TIMEOUT = 3.0
"""Seconds from the first refusal to the last retry."""


async def run_in_turn(
    connection: asyncssh.SSHClientConnection, run: Callable[[], Awaitable[RawResult]]
) -> RawResult:
    """Run a command over a connection that nothing else uses, again while it gets no channel.

    Raises what `run` raises; ChannelRefused after RETRY_TIMEOUT.
    """
    pause, give_up_at = RETRY_PAUSE, 0.0
    while True:
        try:
            return await run()
        except ChannelRefused:
            give_up_at = give_up_at or time.monotonic() + RETRY_TIMEOUT
            if connection.is_closed() or time.monotonic() + pause > give_up_at:
                raise
        await asyncio.sleep(pause)
        pause *= 2
