"""Calls of an executor: their file, what runs them, and what comes back."""

from __future__ import annotations

import io
import sys
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from resop_client import errors
from resop_client.executor import remote
from resop_client.executor.calls import (
    Call,
    calls_file,
    pickled_arguments,
    pickled_function,
    program_file,
)
from resop_client.executor.cluster_python import VERSION, ClusterPython
from resop_client.executor.outcomes import RemoteTraceback, settle


def call(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Call:
    return Call(pickled_function(function), pickled_arguments(arguments, keywords))


def outcome(content: bytes) -> Future[Any]:
    future: Future[Any] = Future()
    settle(future, content)
    return future


def run_here(calls: list[Call], folder: Path, version: str = VERSION, per_task: int = 2) -> None:
    """Do what the cluster does."""
    (folder / "results").mkdir()
    (folder / "calls").write_bytes(calls_file(calls))
    for task in range(-(-len(calls) // per_task)):
        remote.main(folder, per_task, version, task)
    for number, each in enumerate(calls):
        settle(each.future, (folder / "results" / f"{number}.result").read_bytes())


class OwnError(Exception):
    def __init__(self, code: int, *, name: str) -> None:
        super().__init__(f"{name} {code}")
        self.code = code


def raise_own(code: int) -> None:
    raise OwnError(code, name="x")


def test_results_and_errors_come_back(tmp_path: Path) -> None:
    factor = 3
    calls = [
        call(lambda x, *, y: factor * x + y, 2, y=1),
        call(divmod, 1, 0),
        call(sys.exit, "enough"),
        call(threading.Lock),  # it cannot be pickled
        call(raise_own, 7),
    ]
    run_here(calls, tmp_path)
    assert calls[0].future.result() == 7
    with pytest.raises(ZeroDivisionError) as raised:
        calls[1].future.result()
    assert isinstance(raised.value.__cause__, RemoteTraceback)
    assert "in run" in str(raised.value.__cause__)
    with pytest.raises(SystemExit, match="enough"):
        calls[2].future.result()
    with pytest.raises(TypeError, match="the result of the call cannot be pickled"):
        calls[3].future.result()
    # An exception whose arguments are not those of its class cannot be made again by pickle.
    with pytest.raises(errors.CallFailed, match="cannot be unpickled here"):
        calls[4].future.result()
    assert not list((tmp_path / "results").glob("*.tmp"))


def test_a_function_is_sent_once_and_another_version_is_named(tmp_path: Path) -> None:
    data = bytes(range(256)) * 40
    calls = [call(lambda x: len(data) + x, number) for number in range(50)]
    assert len(calls_file(calls)) < 2 * len(calls[0].function) + 50 * 200
    run_here(calls[:3], tmp_path, version="2.7")
    with pytest.raises(errors.WrongPython, match=r"the compute node has Python 3.* same minor"):
        calls[2].future.result()


def test_what_was_cancelled_stays_so() -> None:
    future: Future[Any] = Future()
    assert future.cancel()
    settle(future, remote.run(pickled_function(len), pickled_arguments([""], {})))
    assert future.cancelled()
    each = Call(b"", b"", future)
    each.notify_if_cancelled()
    each.notify_if_cancelled()
    assert outcome(b"no pickle").exception() is not None


def test_program_has_all_that_it_needs() -> None:
    with zipfile.ZipFile(io.BytesIO(program_file())) as archive:
        names = archive.namelist()
        compile(archive.read("__main__.py"), "__main__.py", "exec")
    assert {"__main__.py", "cloudpickle/__init__.py", "cloudpickle/cloudpickle.py"} <= {*names}
    python = ClusterPython("python3.11 -u", ["python/3.11"], "source 'my env/bin/activate'")
    assert python.job("/home/a b/k/1", 3).splitlines() == [
        "#!/bin/bash",
        "command -v module >/dev/null || . /etc/profile",
        "module load python/3.11 || exit",
        "source 'my env/bin/activate'",
        f"exec python3.11 -u '/home/a b/k/program.pyz' '/home/a b/k/1' 3 {VERSION}",
    ]
