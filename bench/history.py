"""`python -m bench.history`: pages of a long history, as it grows.

The record alone, without HTTP: SQLite as the embedded set-up has it, and with `--mariadb` a server
of its own. A tenth of the tasks are one user's, whose pages are read; the rest are of 999 others.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from bench.load import Measured
from resop.history import History, Wanted
from resop.ids import first_id
from resop.records import Records
from resop.tables import TASK, State, Task
from resop.tagged import ADD_TAGGED, tagged_tasks
from tests.support.services import MariaDB
from tests.support.tasks import new_task

CLUSTER, USER = "bench", "user0"
OTHERS = 999
GROUP = 5000
"""Rows written in one transaction."""
PAGE = 50
SECONDS_APART = 30
"""Between two tasks: a million of them are a year's."""
NEWEST = datetime(2026, 1, 1, tzinfo=UTC)


def rows(first: int, count: int) -> Iterator[dict[str, Any]]:
    """Tasks that have ended, each older than those before it."""
    dice = random.Random(first)
    plain = new_task(sealed=None, exit_code=0, command="squeue --me", output="x" * 200).model_dump()
    for number in range(first, first + count):
        at = NEWEST - timedelta(seconds=SECONDS_APART * number)
        mine = dice.random() < 0.1
        yield plain | {
            "id": first_id(at),
            "username": USER if mine else f"user{dice.randint(1, OTHERS)}",
            "cluster": CLUSTER,
            "action": "squeue" if dice.random() < 0.9 else "sinfo",
            "state": State.SUCCEEDED if dice.random() < 0.99 else State.FAILED,
            "tags": ["rare"] if dice.random() < 0.001 else [],
            "created_at": at,
            "started_at": at,
            "ended_at": at,
        }


def questions(history: History, size: int) -> dict[str, Callable[[], Any]]:
    """What is measured, by its name."""
    middle = first_id(NEWEST - timedelta(seconds=SECONDS_APART * size // 2))

    def page(before: str | None = None, **wanted: Any) -> Callable[[], Any]:
        return lambda: history.tasks(
            USER, CLUSTER, limit=PAGE, before=before, wanted=Wanted(**wanted)
        )

    return {
        "newest": page(),
        "from the middle": page(middle),
        "of a state": page(state=State.FAILED),
        "of an action": page(action="sinfo"),
        "with a rare tag": page(tag=["rare"]),
        "with a text that none has": page(text="no such text"),
    }


def measured(question: Callable[[], Any], times: int) -> Measured:
    """Its times, one after the other."""
    found = Measured(1)
    for _ in range(times):
        began = time.perf_counter()
        question()
        found.good.append(time.perf_counter() - began)
    found.good.sort()
    return found


def measure(url: str, sizes: list[int], times: int) -> None:
    """Fill a database to each of the sizes, and print a line for each question."""
    with contextlib.closing(Records(url)) as records:
        records.create_tables()
        filled = 0
        for size in sizes:
            while filled < size:
                count = min(GROUP, size - filled)
                group = list(rows(filled, count))
                tags = [row.model_dump() for row in tagged_tasks(Task(**each) for each in group)]
                with records.write(flushed=False) as db:
                    db.execute(insert(TASK), group)
                    if tags:
                        db.execute(ADD_TAGGED, tags)
                filled += count
            for name, question in questions(History(records), size).items():
                question()
                found = measured(question, times)
                print(
                    f"{size:>9} tasks, {PAGE} {name:<26} p50 {found.percentile(50):7.1f} ms, "
                    f"p99 {found.percentile(99):7.1f} ms",
                    flush=True,
                )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.history", description=__doc__)
    parser.add_argument("-s", "--sizes", default="10000,100000,1000000", help="numbers of tasks")
    parser.add_argument("-n", "--times", type=int, default=100, help="pages of each kind")
    parser.add_argument("--mariadb", action="store_true", help="in a MariaDB, started for it")
    arguments = parser.parse_args()
    sizes = [int(each) for each in arguments.sizes.split(",")]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        folder.chmod(0o755)
        url = f"sqlite:///{folder}/resop.db"
        if arguments.mariadb:
            url = stack.enter_context(MariaDB(folder / "mariadb")).database("bench")
        measure(url, sizes, arguments.times)


if __name__ == "__main__":
    main()
