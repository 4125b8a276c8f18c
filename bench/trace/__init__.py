"""Traces requests through the processes of the service, for `python -m bench.profile`.

The service itself has no code for this: `sitecustomize.py`, found through PYTHONPATH, wraps the
methods below in each Python process. A mark is a name and a time of the clock that all processes
share.
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
"""The environment variable with the folder for the marks of each process."""

MODULES = ("api.main", "worker.main")
"""The main modules of the processes to trace."""

MARKED = {
    "api.middleware.request_log:RequestLog.__call__": ("request", "answered"),
    "resop.security.encryption:Encryptor.read_token": (None, "token read"),
    "resop.storage.tasks:TaskStore.add_all": ("options checked", "task written"),
    "resop.messaging.task_queue:TaskQueue.put_all": ("to be published", "published"),
    "worker.task_pool:TaskPool.accept": ("received", None),
    "resop.storage.tasks:TaskStore.claim_all": (None, "claimed"),
    "worker.engine:TaskRunner.run": ("started", None),
    "worker.engine:TaskOpener.open": (None, "decrypted"),
    "resop.ssh.session:Session.run": ("to be sent", "step ended"),
    "worker.record_writer:RecordWriter.write_end": ("to be recorded", None),
    "resop.storage.tasks:TaskStore.apply": (None, "recorded"),
    "resop.messaging.publisher:EventPublisher.publish": (None, "end published"),
    "api.state.task_waiters:CompletionWaiter.on_end": ("API notified", None),
}
"""The traced methods, each with its mark at the call and its mark at the return."""

marks: list[tuple[str, int]] = []


def start() -> None:
    """Start tracing; SIGUSR2 writes the marks to a file."""
    file = Path(os.environ[FOLDER], str(os.getpid()))
    for method, (before, after) in MARKED.items():
        _wrap(*find_method(method), before, after)

    def write(*_: object) -> None:
        file.with_suffix(".part").write_text(json.dumps(marks))
        file.with_suffix(".part").rename(file)

    signal.signal(signal.SIGUSR2, write)


def find_method(method: str) -> tuple[Any, str]:
    """Return the class and the name of a method written as `module:Class.method`."""
    module, _, path = method.partition(":")
    owner, name = path.split(".")
    return getattr(import_module(module), owner), name


def _wrap(owner: Any, name: str, before: str | None, after: str | None) -> None:
    function: Callable[..., Any] = getattr(owner, name)

    def mark(name: str | None) -> None:
        if name is not None:
            marks.append((name, time.perf_counter_ns()))

    @functools.wraps(function)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
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

    setattr(owner, name, awaited if inspect.iscoroutinefunction(function) else called)
