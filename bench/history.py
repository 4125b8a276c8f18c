"""Pages of a task history as it grows.

Measures only the database, without HTTP. The user whose pages are read owns a tenth of the tasks;
999 other users own the rest.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert

from bench.load import Measurement
from bench.table import Row, figures_row, percentile_figures
from resop.storage.database import Database
from resop.storage.ids import lower_bound
from resop.storage.models import TASK, State, Task
from resop.storage.tags import INSERT_TAG, tag_rows_of
from resop.storage.task_search import TaskFilter, TaskSearch
from tests.support.tasks import new_task

CLUSTER, USER = "bench", "user0"
OTHER_USERS = 999
ROWS_PER_TRANSACTION = 5000
TASKS_PER_PAGE = 50
TASK_INTERVAL_SECONDS = 30
"""Time between two tasks: a million of them span one year."""
NEWEST_TIME = datetime(2026, 1, 1, tzinfo=UTC)


def finished_tasks(first: int, count: int) -> Iterator[dict[str, Any]]:
    """Yield finished tasks as rows, each older than the one before it."""
    dice = random.Random(first)
    template = new_task(
        encrypted_payload=None, exit_code=0, command="squeue --me", output="x" * 200
    ).model_dump()
    for number in range(first, first + count):
        created = NEWEST_TIME - timedelta(seconds=TASK_INTERVAL_SECONDS * number)
        is_users = dice.random() < 0.1
        yield template | {
            "id": lower_bound(created),
            "username": USER if is_users else f"user{dice.randint(1, OTHER_USERS)}",
            "cluster": CLUSTER,
            "action": "squeue" if dice.random() < 0.9 else "sinfo",
            "state": State.SUCCEEDED if dice.random() < 0.99 else State.FAILED,
            "tags": ["rare"] if dice.random() < 0.001 else [],
            "created_at": created,
            "started_at": created,
            "ended_at": created,
        }


def page_queries(history: TaskSearch, size: int) -> dict[str, Callable[[], Any]]:
    """Return the queries to measure, by name."""
    middle = lower_bound(NEWEST_TIME - timedelta(seconds=TASK_INTERVAL_SECONDS * size // 2))

    def page(before: str | None = None, **criteria: Any) -> Callable[[], Any]:
        return lambda: history.page(
            USER, CLUSTER, limit=TASKS_PER_PAGE, before=before, matching=TaskFilter(**criteria)
        )

    return {
        "newest": page(),
        "from the middle": page(middle),
        "of one state": page(state=State.FAILED),
        "of one action": page(action="sinfo"),
        "with a rare tag": page(tag=["rare"]),
        "with a text that no task has": page(text="no such text"),
    }


def measure_query(query: Callable[[], Any], calls: int) -> Measurement:
    """Measure a query `calls` times, one after the other."""
    measurement = Measurement(1)
    for _ in range(calls):
        began = time.perf_counter()
        query()
        measurement.latencies.append(time.perf_counter() - began)
    measurement.latencies.sort()
    return measurement


def measure_pages(engine: str, url: str, sizes: list[int], calls: int) -> list[Row]:
    """Fill a database to each size in turn, and measure pages of its tasks."""
    rows = []
    with contextlib.closing(Database(url)) as database:
        database.create_tables()
        count = 0
        for size in sizes:
            add_tasks(database, count, size)
            count = size
            figures: dict[str, float] = {}
            for name, query in page_queries(TaskSearch(database), size).items():
                query()
                figures |= percentile_figures(measure_query(query, calls), f"{name}: ")
            work = f"a page of {TASKS_PER_PAGE} from {size} tasks in {engine}"
            goal = "p99 under 50 ms; no slower than with a short history"
            rows.append(figures_row(work, goal, figures))
    return rows


def add_tasks(database: Database, count: int, size: int) -> None:
    """Add tasks to a database of `count` tasks until it holds `size`."""
    while count < size:
        length = min(ROWS_PER_TRANSACTION, size - count)
        rows = list(finished_tasks(count, length))
        tags = [row.model_dump() for row in tag_rows_of(Task(**each) for each in rows)]
        with database.write(durable=False) as db:
            db.execute(insert(TASK), rows)
            if tags:
                db.execute(INSERT_TAG, tags)
        count += length
