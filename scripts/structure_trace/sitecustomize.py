"""Python runs this in each process that has this folder in its PYTHONPATH: it records calls.

Only in an API or worker process of resop, from one SIGUSR2 to the next, which writes the calls to
`$STRUCTURE_TRACE/MODULE.json`: [nanoseconds of the clock that all processes share, module,
function, module of the nearest caller of ours or null, names of the parameters that hold a mark].
(Celery has a use for SIGUSR1.)
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = os.environ.get("STRUCTURE_ROOT", "")
PACKAGES = tuple(f"{ROOT}/{name}/" for name in os.environ.get("STRUCTURE_PACKAGES", "").split())
MARK = "structure-mark"
DEPTH = 3

calls: list[tuple[int, str, str, str | None, list[str]]] = []
frames: list[FrameType] = []
"""Frames that have begun, so that an id stands for one frame, and a resumed one is known."""
known: set[int] = set()
recording = False


def record(frame: FrameType, event: str, argument: object) -> None:
    """Record the begin of a function of ours, or the resumption of one that began earlier."""
    if not recording or event != "call":
        return
    code = frame.f_code
    if not code.co_filename.startswith(PACKAGES) or id(frame) in known:
        return
    known.add(id(frame))
    frames.append(frame)
    caller = frame.f_back
    while caller is not None and not caller.f_code.co_filename.startswith(PACKAGES):
        caller = caller.f_back
    calls.append(
        (
            time.perf_counter_ns(),
            module_of(code),
            code.co_qualname,
            module_of(caller.f_code) if caller is not None else None,
            marked(frame),
        )
    )


def module_of(code: CodeType) -> str:
    """Return the dotted name of a code's module."""
    name = code.co_filename[len(ROOT) + 1 : -len(".py")].replace("/", ".")
    return name.removesuffix(".__init__")


def marked(frame: FrameType) -> list[str]:
    """Return the names of the parameters that hold the mark, directly or inside of a container."""
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)  # *args, **kwargs
    values = frame.f_locals
    return [name for name in code.co_varnames[:count] if name != "self" and holds(values.get(name))]


def holds(value: Any, depth: int = DEPTH) -> bool:
    """Return whether a value holds the mark."""
    if isinstance(value, str):
        return MARK in value
    if isinstance(value, (bytes, bytearray)):
        return MARK.encode() in value
    if depth == 0:
        return False
    if isinstance(value, dict):
        return any(holds(each, depth - 1) for each in value.values())
    if isinstance(value, (list, tuple)):
        return any(holds(each, depth - 1) for each in value)
    if hasattr(type(value), "model_fields"):
        return any(holds(each, depth - 1) for each in vars(value).values())
    if dataclasses.is_dataclass(value):
        fields = [getattr(value, each.name, None) for each in dataclasses.fields(value)]
        return any(holds(each, depth - 1) for each in fields)
    return False


def toggle(*_: object) -> None:
    """Begin to record; the second time, write down what was recorded."""
    global recording
    recording = not recording
    if not recording:
        file = Path(os.environ["STRUCTURE_TRACE"], f"{MODULE}.json")
        file.with_suffix(".part").write_text(json.dumps(calls))
        file.with_suffix(".part").rename(file)


arguments = sys.orig_argv
MODULE = arguments[arguments.index("-m") + 1] if "-m" in arguments else ""
if MODULE in ("api.main", "worker.main") and "STRUCTURE_TRACE" in os.environ:
    signal.signal(signal.SIGUSR2, toggle)
    sys.setprofile(record)
    threading.setprofile(record)
