"""Marks moments on a request's way in the processes of the service, for `python -m bench.profile`.

The service itself knows nothing of it: `sitecustomize.py`, found by PYTHONPATH, wraps the methods
below in each Python process. A mark is a name and a time of the clock that all processes share.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import signal
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = "BENCH_TRACE"
"""The environment variable with the folder that takes the marks of each process."""

MODULES = ("api.main", "worker.main")
"""What the processes run in which moments are marked."""

MARKED = {
    "api.middleware.request_log:RequestLog.__call__": ("request", "answered"),
    "resop.security.sealing:Encryptor.read": (None, "token read"),
    "resop.storage.tasks:TaskStore.add_all": ("options checked", "task written"),
    "resop.messaging.task_queue:TaskQueue.put_all": ("to be published", "published"),
    "worker.engine:TaskRunner.take": ("received", None),
    "resop.storage.tasks:TaskStore.claim_all": (None, "claimed"),
    "worker.engine:TaskRunner._run": ("begun", None),
    "worker.engine:TaskRunner._open": (None, "opened"),
    "resop.ssh.session:Session.run": ("to be sent", "step ended"),
    "worker.record_writer:RecordWriter.end": ("to be recorded", None),
    "resop.storage.tasks:TaskStore.apply": (None, "recorded"),
    "resop.messaging.publisher:EventPublisher.ended": (None, "told"),
    "api.state.task_waiters:CompletionWaiter.hear": ("heard", None),
}
"""Method: the mark when it is called, and the one when it returns."""

marks: list[tuple[str, int]] = []


def start() -> None:
    """Mark from now on; SIGUSR2 writes down what was marked."""
    file = Path(os.environ[FOLDER], str(os.getpid()))
    for place, (before, after) in MARKED.items():
        module, _, path = place.partition(":")
        owner, name = path.split(".")
        _wrap(getattr(import_module(module), owner), name, before, after)

    def write(*_: object) -> None:
        file.with_suffix(".part").write_text(json.dumps(marks))
        file.with_suffix(".part").rename(file)

    signal.signal(signal.SIGUSR2, write)


def _wrap(owner: Any, name: str, before: str | None, after: str | None) -> None:
    function: Callable[..., Any] = getattr(owner, name)

    def mark(what: str | None) -> None:
        if what is not None:
            marks.append((what, time.perf_counter_ns()))

    @functools.wraps(function)
    async def waited(*args: Any, **kwargs: Any) -> Any:
        mark(before)
        try:
            return await function(*args, **kwargs)
        finally:
            mark(after)

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        mark(before)
        try:
            return function(*args, **kwargs)
        finally:
            mark(after)

    setattr(owner, name, waited if inspect.iscoroutinefunction(function) else called)
