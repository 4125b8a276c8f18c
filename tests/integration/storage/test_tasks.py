"""Tasks that several processes claim at once."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

from resop.storage.database import Database
from resop.storage.models import (
    Task,
)
from resop.storage.tasks import TaskStore
from tests.support.ids import next_id
from tests.support.tasks import new_task as task


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/resop.db"


def found(task_store: TaskStore, task_id: str) -> Task:
    looked_up = task_store.get(task_id)
    assert looked_up is not None
    return looked_up


def several(task_store: TaskStore, count: int) -> list[str]:
    """Add `count` queued tasks and return their ids."""
    ids = [next_id() for _ in range(count)]
    for each in ids:
        task_store.add(task(id=each))
    return ids


def claim_in_process(url: str, ids: list[str], worker: str, start: Any) -> list[str]:
    database = Database(url)
    start.wait(30)
    try:
        return [each for each in ids if TaskStore(database).claim(each, worker)]
    finally:
        database.close()


def test_each_task_has_one_winner_among_processes(task_store: TaskStore, tmp_path: Path) -> None:
    ids = several(task_store, 40)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["resop.storage.tasks"])
    with context.Manager() as manager, context.Pool(4) as pool:
        start = manager.Barrier(4)
        arguments = [(url(tmp_path), ids, f"worker-{number}", start) for number in range(4)]
        won = pool.starmap(claim_in_process, arguments, chunksize=1)
    assert sorted(each for ids_won in won for each in ids_won) == sorted(ids)
    for number, ids_won in enumerate(won):
        assert {found(task_store, each).worker for each in ids_won} <= {f"worker-{number}"}
