"""Settings that several processes read at once."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from resop.config.settings import Settings


def make_key(folder: Path, start: multiprocessing.synchronize.Barrier) -> bytes:
    start.wait(30)
    return Settings(DATA_DIR=folder).secret_key()


def test_eight_processes_starting_at_once_share_one_secret_key(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["resop.config.settings"])
    with context.Manager() as manager, context.Pool(8) as pool:
        start = manager.Barrier(8)
        for number in range(5):
            folder = tmp_path / str(number)
            keys = pool.starmap(make_key, [(folder, start)] * 8, chunksize=1)
            assert len(set(keys)) == 1
            assert [each.name for each in folder.iterdir()] == ["secret_key"]
