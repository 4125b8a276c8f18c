"""Keep work on long texts off the worker's loop, which serves all its tasks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

from resop.steps.json_text import is_short

T = TypeVar("T")

SHORT_INPUT = 32 << 10
"""Characters and values; work on more may take longer than other tasks should wait."""


async def off_loop(work: Callable[[], T], input: Any) -> T:
    """Do the work on a JSON value: at once if it is short, else in a thread.

    It is finished also if the task is cancelled meanwhile: what ran must be recorded.
    """
    if is_short(input, SHORT_INPUT):
        return work()
    working = asyncio.ensure_future(asyncio.to_thread(work))
    while not working.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(working)
    return working.result()
