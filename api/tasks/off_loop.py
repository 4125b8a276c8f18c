"""Keep work on long input off the event loop, and short work free of a thread's price."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool

from resop.steps.json_text import is_short

T = TypeVar("T")

SHORT_INPUT = 8 << 10
"""Characters and values; work on more may take longer than others should wait."""


async def off_loop(work: Callable[[], T], input: Any) -> T:
    """Do the work on a JSON value: at once if it is short, else in a thread."""
    if is_short(input, SHORT_INPUT):
        return work()
    return await run_in_threadpool(work)
