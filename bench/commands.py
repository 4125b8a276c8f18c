"""One command by many callers, and ten in one operation, beside baselines and other services."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from functools import partial

import asyncssh

from bench.bare_loop import run_bare_loop
from bench.comparison import Comparison
from bench.load import HttpClient, Measurement, closed_loop, post_request, run_clients
from bench.site import USER, MeasuredSite
from bench.steps import STEP, run_steps
from bench.targets import TargetService
from resop.ssh.session import Session

GOALS = {
    1: "p50 at most 0.6 of FirecREST's",
    8: "none",
    32: "2.5 times FirecREST's rate; the rate of the bare loop",
    100: "none fails; the rate of 32 callers",
    500: "none fails; the rate of 32 callers",
}
"""The goal for each number of callers."""


async def run_commands(
    site: MeasuredSite, callers: int, calls: int, ports: Sequence[int] = ()
) -> Measurement:
    """Run a command through HTTP, token, validation, queue, worker and database.

    The callers are spread over the API processes at `ports`; the default is the site's own.
    """
    request, expected = post_request("/utils/cmd/id", site.token, b"{}"), f"({USER})".encode()
    next_port = itertools.cycle(ports or [site.port])
    clients = [HttpClient(next(next_port), request, expected) for _ in range(callers)]
    return await run_clients(clients, calls)


async def run_ten_step_operations(site: MeasuredSite, calls: int) -> Measurement:
    """Run an operation of ten steps `calls` times."""
    request = post_request("/measured/opn/ten_steps", site.token, b"{}")
    return await run_clients([HttpClient(site.port, request, f"({USER})".encode())], calls)


async def run_ten_steps(session: Session, calls: int) -> Measurement:
    """Run ten steps over a bare runner, counted as one call."""

    async def call() -> bool:
        results = [await session.run(STEP, 60) for _ in range(10)]
        return all(result.exit_code == 0 for result in results)

    return await closed_loop([call], calls)


def _compare_ten_steps(
    site: MeasuredSite, runner: Session, targets: Sequence[TargetService], calls: int
) -> Comparison:
    return Comparison(
        "an operation of ten steps",
        "1.5 times ten commands on a bare runner; a fifth of ten FirecREST requests",
        "p50",
        lambda: run_ten_step_operations(site, calls),
        {
            "ten on the bare runner": lambda: run_ten_steps(runner, calls),
            **{f"ten of {each.name}": partial(each.measure_tens, calls) for each in targets},
        },
    )


@contextlib.asynccontextmanager
async def command_comparisons(
    site: MeasuredSite, targets: Sequence[TargetService], calls: int
) -> AsyncIterator[list[Comparison]]:
    """Compare one command for each number of callers, and ten commands in one operation."""

    async def connect() -> asyncssh.SSHClientConnection:
        return await site.ssh.login(USER)

    bare, runner = await connect(), Session(connect)

    def command(callers: int) -> Comparison:
        count = max(calls, callers * 2)
        return Comparison(
            f"one command, {callers} {'caller' if callers == 1 else 'callers'}",
            GOALS[callers],
            "p50" if callers == 1 else "rate",
            lambda: run_commands(site, callers, count),
            {
                "bare asyncssh loop": lambda: run_bare_loop(bare, callers, count),
                "bare runner": lambda: run_steps(runner, callers, count),
                **{each.name: partial(each.measure, callers, count) for each in targets},
            },
        )

    ten_steps = _compare_ten_steps(site, runner, targets, max(1, calls // 10))
    try:
        await asyncio.gather(
            run_commands(site, 4, 20), run_bare_loop(bare, 4, 20), run_steps(runner, 4, 20)
        )
        yield [*map(command, GOALS), ten_steps]
    finally:
        await runner.close()
        bare.close()
