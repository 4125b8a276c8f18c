"""One command by many callers, and ten in one operation, beside bare floors and other services."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from functools import partial

import asyncssh

from bench.contest import Contest
from bench.floor import floor
from bench.load import Client, Measured, closed_loop, post, requests
from bench.site import USER, Site
from bench.steps import STEP, steps
from bench.targets import Target
from resop.ssh.session import Session

GOALS = {
    1: "p50 at most 0.6 of FirecREST's",
    8: "none",
    32: "2.5 times FirecREST's rate, and the bare loop's",
    100: "none failed; the rate of 32 at once",
    500: "none failed; the rate of 32 at once",
}
"""By the number of callers."""


async def ours(here: Site, callers: int, calls: int, ports: Sequence[int] = ()) -> Measured:
    """A command through HTTP, token, validation, queue, worker and record.

    The callers share the `ports`, where more than the site's own API serves.
    """
    request, expected = post("/utils/cmd/id", here.token, b"{}"), f"({USER})".encode()
    shared = itertools.cycle(ports or [here.port])
    clients = [Client(next(shared), request, expected) for _ in range(callers)]
    return await requests(clients, calls)


async def ten_steps(here: Site, calls: int) -> Measured:
    """An operation of ten steps, again and again."""
    request = post("/measured/opn/ten_steps", here.token, b"{}")
    return await requests([Client(here.port, request, f"({USER})".encode())], calls)


async def ten_commands(session: Session, calls: int) -> Measured:
    """Ten steps over a bare runner count as one call."""

    async def ten() -> bool:
        done = [await session.run(STEP, 60) for _ in range(10)]
        return all(each.exit_code == 0 for each in done)

    return await closed_loop([ten], calls)


@contextlib.asynccontextmanager
async def command_contests(
    here: Site, targets: Sequence[Target], calls: int
) -> AsyncIterator[list[Contest]]:
    """One command by so many callers, and ten of them in one operation."""

    async def connect() -> asyncssh.SSHClientConnection:
        return await here.ssh.login(USER)

    bare, runner = await connect(), Session(connect)

    def command(callers: int) -> Contest:
        count = max(calls, callers * 2)
        return Contest(
            f"one command, waiting, {callers} at once",
            GOALS[callers],
            "p50" if callers == 1 else "rate",
            lambda: ours(here, callers, count),
            {
                "bare asyncssh loop": lambda: floor(bare, callers, count),
                "bare runner": lambda: steps(runner, callers, count),
                **{each.name: partial(each.measure, callers, count) for each in targets},
            },
        )

    few = max(1, calls // 10)
    tens = Contest(
        "an operation of 10 steps",
        "1.5 times 10 commands on a bare runner; a fifth of 10 FirecREST requests",
        "p50",
        lambda: ten_steps(here, few),
        {
            "10 on the bare runner": lambda: ten_commands(runner, few),
            **{f"10 of {each.name}": partial(each.measure_tens, few) for each in targets},
        },
    )
    try:
        await asyncio.gather(ours(here, 4, 20), floor(bare, 4, 20), steps(runner, 4, 20))
        yield [*map(command, GOALS), tens]
    finally:
        await runner.close()
        bare.close()
