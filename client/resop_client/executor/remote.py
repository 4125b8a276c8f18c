"""Run the calls of one array task; this runs on the cluster, where resop_client is not installed.

It is sent together with cloudpickle as one file that Python can run. It has to be able to say on
Python 3.6 that the version is the wrong one.
"""

import os
import pickle  # nosec B403: the calls are those of the user whose job this is
import platform
import struct
import sys
import traceback
from pathlib import Path
from typing import BinaryIO, Tuple

COUNT = struct.Struct("<Q")
ENTRY = struct.Struct("<QQQQ")
"""Where the function and the arguments of a call are: position and size of each."""

VALUE, ERROR, WRONG_VERSION = "value", "error", "wrong version"
"""The kinds of a result."""


def main(folder: Path, calls_per_task: int, version: str, task: int) -> None:
    """Run some calls, and write the result of each under its number."""
    fits = version == f"{sys.version_info[0]}.{sys.version_info[1]}"
    with (folder / "calls").open("rb") as file:
        count = COUNT.unpack(file.read(COUNT.size))[0]
        first = task * calls_per_task
        for number in range(first, min(first + calls_per_task, count)):
            if fits:
                result = run(*read_call(file, number))
            else:
                result = pickle.dumps((WRONG_VERSION, platform.python_version(), ""), 2)
            write(folder / "results" / f"{number}.result", result)


def read_call(file: BinaryIO, number: int) -> Tuple[bytes, bytes]:
    """Return the pickled function and the pickled arguments of a call."""
    file.seek(COUNT.size + number * ENTRY.size)
    function, function_size, arguments, arguments_size = ENTRY.unpack(file.read(ENTRY.size))
    file.seek(function)
    content = file.read(function_size)
    file.seek(arguments)
    return content, file.read(arguments_size)


def run(function: bytes, arguments: bytes) -> bytes:
    """Run a call, and return its pickled result: its kind, the value or error, a traceback."""
    try:
        call = pickle.loads(function)  # noqa: S301 # nosec B301
        positional, keywords = pickle.loads(arguments)  # noqa: S301 # nosec B301
        result = (VALUE, call(*positional, **keywords), "")
    except BaseException as error:  # also SystemExit: the caller gets whatever was raised
        result = (ERROR, error, traceback.format_exc())
    try:
        return dumps(result)
    except Exception as error:  # whatever a class does while it is pickled
        what = "result" if result[0] == VALUE else "exception"
        fault = TypeError(f"the {what} of the call cannot be pickled: {error}")
        return dumps((ERROR, fault, result[2] or traceback.format_exc()))


def dumps(value: object) -> bytes:
    """Pickle a value, with functions and classes that only this program knows."""
    import cloudpickle

    content: bytes = cloudpickle.dumps(value)
    return content


def write(target: Path, content: bytes) -> None:
    """Write a result so that it appears complete."""
    unfinished = target.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(os.environ["SLURM_ARRAY_TASK_ID"]))
