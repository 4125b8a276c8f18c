"""Pages of a long history, as it grows.

The record alone, without HTTP. A tenth of the tasks are one user's, whose pages are read; the rest
are of 999 others.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert

from bench.load import Measured
from bench.table import Row, fact, times
from resop.storage.database import Database
from resop.storage.ids import lower_bound
from resop.storage.models import TASK, State, Task
from resop.storage.tags import INSERT_TAG, tag_rows_of
from resop.storage.task_search import TaskFilter, TaskSearch
from tests.support.tasks import new_task

CLUSTER, USER = "bench", "user0"
OTHERS = 999
GROUP = 5000
"""Rows written in one transaction."""
PAGE = 50
SECONDS_APART = 30
"""Between two tasks: a million of them are a year's."""
NEWEST = datetime(2026, 1, 1, tzinfo=UTC)


def ended(first: int, count: int) -> Iterator[dict[str, Any]]:
    """Tasks that have ended, each older than those before it."""
    dice = random.Random(first)
    plain = new_task(
        encrypted_payload=None, exit_code=0, command="squeue --me", output="x" * 200
    ).model_dump()
    for number in range(first, first + count):
        at = NEWEST - timedelta(seconds=SECONDS_APART * number)
        mine = dice.random() < 0.1
        yield plain | {
            "id": lower_bound(at),
            "username": USER if mine else f"user{dice.randint(1, OTHERS)}",
            "cluster": CLUSTER,
            "action": "squeue" if dice.random() < 0.9 else "sinfo",
            "state": State.SUCCEEDED if dice.random() < 0.99 else State.FAILED,
            "tags": ["rare"] if dice.random() < 0.001 else [],
            "created_at": at,
            "started_at": at,
            "ended_at": at,
        }


def questions(history: TaskSearch, size: int) -> dict[str, Callable[[], Any]]:
    """What is measured, by its name."""
    middle = lower_bound(NEWEST - timedelta(seconds=SECONDS_APART * size // 2))

    def page(before: str | None = None, **wanted: Any) -> Callable[[], Any]:
        return lambda: history.tasks(
            USER, CLUSTER, limit=PAGE, before=before, matching=TaskFilter(**wanted)
        )

    return {
        "newest": page(),
        "from the middle": page(middle),
        "of a state": page(state=State.FAILED),
        "of an action": page(action="sinfo"),
        "with a rare tag": page(tag=["rare"]),
        "with a text that none has": page(text="no such text"),
    }


def measured(question: Callable[[], Any], calls: int) -> Measured:
    """Its times, one after the other."""
    found = Measured(1)
    for _ in range(calls):
        began = time.perf_counter()
        question()
        found.good.append(time.perf_counter() - began)
    found.good.sort()
    return found


def pages(engine: str, url: str, sizes: list[int], calls: int) -> list[Row]:
    """Fill a database to each of the sizes, and ask for pages of it."""
    rows = []
    with contextlib.closing(Database(url)) as database:
        database.create_tables()
        filled = 0
        for size in sizes:
            fill(database, filled, size)
            filled = size
            figures: dict[str, float] = {}
            for name, question in questions(TaskSearch(database), size).items():
                question()
                figures |= times(measured(question, calls), f"{name}: ")
            work = f"{PAGE} of {size} tasks in {engine}"
            rows.append(fact(work, "p99 under 50 ms; no more than of a short history", figures))
    return rows


def fill(database: Database, filled: int, size: int) -> None:
    """Add tasks until there are so many."""
    while filled < size:
        count = min(GROUP, size - filled)
        group = list(ended(filled, count))
        tags = [row.model_dump() for row in tag_rows_of(Task(**each) for each in group)]
        with database.write(durable=False) as db:
            db.execute(insert(TASK), group)
            if tags:
                db.execute(INSERT_TAG, tags)
        filled += count
