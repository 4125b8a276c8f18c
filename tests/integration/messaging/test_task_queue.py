"""The task queue on the embedded engine, with what resop uses of kombu's insides."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from resop.config.settings import Settings
from resop.errors import QueueUnavailable
from resop.messaging.kombu_internals import queue_length
from resop.messaging.task_queue import TASKS_PER_MESSAGE, TaskQueue, celery_app
from tests.integration.messaging.conftest import Engine


@pytest.fixture
def settings(engine: Engine, tmp_path: Path) -> Settings:
    return Settings(DATA_DIR=tmp_path)


def test_length_of_a_queue_counts_all_priorities(settings: Settings, engine: Engine) -> None:
    app = celery_app(settings)
    queue = TaskQueue(app)
    assert queue.length("hpc") == queue_length(app, "cluster.hpc") == 0
    queue.put("t1", "hpc")
    tasks = [(f"t{number}", "hpc", "") for number in range(TASKS_PER_MESSAGE + 1)]
    assert queue.put_all(tasks, behind=True) == []
    assert queue.length("hpc") == 3
    with contextlib.closing(engine.client()) as client:
        keys = sorted(client.keys("cluster.hpc*"))
        assert [client.llen(key) for key in keys] == [1, 2]
    assert keys[0] == b"cluster.hpc"


def test_queue_of_a_worker_is_its_own(settings: Settings) -> None:
    queue = TaskQueue(celery_app(settings))
    queue.put("t1", "hpc", "w1")
    assert (queue.length("hpc"), queue.length("hpc", "w1"), queue.length("hpc", "w2")) == (0, 1, 0)


def test_queue_without_an_engine_is_unavailable(settings: Settings, engine: Engine) -> None:
    queue = TaskQueue(celery_app(settings))
    queue.put("t1", "hpc")
    engine.stop()
    with pytest.raises(QueueUnavailable):
        queue.length("hpc")
    with pytest.raises(QueueUnavailable):
        queue.put("t2", "hpc")
    assert queue.put_all([("t2", "hpc", "")]) == ["t2"]
