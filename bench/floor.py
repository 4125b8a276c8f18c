"""The floor under everything: a bare asyncssh loop, as somebody would write it by hand."""

from __future__ import annotations

import asyncio

import asyncssh

from bench.load import Measured, closed_loop
from bench.site import USER

CHANNELS = 5
"""Exec channels at a time over one connection: above six, OpenSSH begins to refuse some."""


async def floor(connection: asyncssh.SSHClientConnection, callers: int, calls: int) -> Measured:
    """An exec channel for each command."""
    free = asyncio.Semaphore(CHANNELS)

    async def call() -> bool:
        async with free:
            done = await connection.run("id", stdin=asyncssh.DEVNULL)
        return done.exit_status == 0 and f"({USER})" in str(done.stdout)

    return await closed_loop([call] * callers, calls)
