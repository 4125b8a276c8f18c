"""The baseline of all commands: a bare asyncssh loop, as one would write it by hand."""

from __future__ import annotations

import asyncio

import asyncssh

from bench.load import Measurement, closed_loop
from bench.site import USER

CHANNELS = 5
"""Concurrent exec channels on one connection: above six, OpenSSH starts to refuse some."""


async def run_bare_loop(
    connection: asyncssh.SSHClientConnection, callers: int, calls: int
) -> Measurement:
    """Run each command on its own exec channel."""
    free = asyncio.Semaphore(CHANNELS)

    async def call() -> bool:
        async with free:
            done = await connection.run("id", stdin=asyncssh.DEVNULL)
        return done.exit_status == 0 and f"({USER})" in str(done.stdout)

    return await closed_loop([call] * callers, calls)
