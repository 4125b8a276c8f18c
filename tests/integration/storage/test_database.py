"""A database that several processes open at once."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path
from typing import Any

from resop.storage.database import Database
from resop.storage.workers import WorkerStore


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/resop.db"


def make_tables(url: str, start: Any) -> None:
    database = Database(url)
    start.wait(30)
    database.create_tables()
    WorkerStore(database).heartbeat(str(threading.get_ident()))
    database.close()


def test_processes_that_start_at_once_make_the_tables_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["resop.storage.tasks"])
    with context.Manager() as manager, context.Pool(6) as pool:
        start = manager.Barrier(6)
        pool.starmap(make_tables, [(url(tmp_path), start)] * 6, chunksize=1)
