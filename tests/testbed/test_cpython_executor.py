"""CPython's own tests of executors, as far as they are of any executor, with jobs of a real Slurm.

Left out is what asks for threads or processes of this machine, for a result within five seconds,
for calls that run as soon as they are submitted, or for an executor that a new interpreter can make
from its class alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import secrets
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import pytest

from resop_client import LoginStore, Resop
from tests.support.cluster_python import skip_unless_ours
from tests.support.needs import need
from tests.support.ports import HOST
from tests.support.service import Caller, Embedded

pytestmark = [pytest.mark.timeout(240), pytest.mark.slow]

VERSION = f"python3.{sys.version_info.minor}"
TESTS = {
    ("executor", "ExecutorTest"): (
        *("test_submit", "test_submit_keyword", "test_map", "test_map_exception"),
        *("test_shutdown_race_issue12456", "test_no_stale_references"),
        *("test_max_workers_negative", "test_free_reference"),
    ),
    ("test_shutdown", "ExecutorShutdownTest"): (
        *("test_run_after_shutdown", "test_hang_issue12364"),
    ),
    ("test_wait", "WaitTests"): (
        *("test_20369", "test_first_completed", "test_first_completed_some_already_completed"),
        *("test_first_exception", "test_first_exception_some_already_complete"),
        *("test_first_exception_one_already_failed", "test_all_completed"),
    ),
    ("test_as_completed", "AsCompletedTests"): (
        *("test_no_timeout", "test_zero_timeout|test_future_times_out", "test_duplicate_futures"),
    ),
}
"""By module and class; names with `|` are those of older and newer releases."""


def cpython_tests(name: str) -> ModuleType | None:
    """Return the module that has these tests: in a package from 3.12 on, in one module before."""
    for place in (f"test.test_concurrent_futures.{name}", "test.test_concurrent_futures"):
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError:
            continue  # Python is often installed without its tests
    path = Path("/usr/lib", VERSION, "test/test_concurrent_futures.py")
    if not path.exists():
        return None
    spec = importlib.util.spec_from_file_location("cpython_tests", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class ClusterEvent:
    """An event that calls on the cluster wait for: a file in the home folder."""

    # No assert here: pytest's, of which the cluster has nothing, would be pickled with the class.
    def __init__(self, hpc: Any, name: str = "") -> None:
        self.name = name or f"event-{secrets.token_hex(4)}"
        self.hpc = hpc

    def __reduce__(self) -> tuple[Any, ...]:
        return ClusterEvent, (None, self.name)

    def wait(self) -> None:
        while not Path("~", self.name).expanduser().exists():
            time.sleep(0.1)

    def set(self) -> None:
        self.hpc.core.run(command=f"touch {self.name}")


@pytest.fixture(scope="module")
def hpc(
    alice: Caller, running: Embedded, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Resop]:
    skip_unless_ours()
    address = f"http://{HOST}:{running.ports[0]}"
    with Resop(address, alice.token, store=LoginStore(tmp_path_factory.mktemp("store"))) as client:
        yield client


@pytest.mark.parametrize(
    ("place", "test"), [(place, test) for place, tests in TESTS.items() for test in tests]
)
def test_cpython(hpc: Resop, place: tuple[str, str], test: str) -> None:
    module = cpython_tests(place[0])
    need(None if module else f"CPython's tests are missing (package lib{VERSION}-testsuite)")
    assert module is not None
    package = "test.test_concurrent_futures"
    common = importlib.import_module(f"{package}.util") if package in sys.modules else module
    for each in {module, common, sys.modules[__name__]}:
        cloudpickle.register_pickle_by_value(each)  # the cluster does not have it
    executor_type = partial(hpc.executor, time_limit=5, job_name="cpython")
    case_class: Any = type(
        place[1],
        (common.ExecutorMixin, getattr(module, place[1]), common.BaseTestCase),
        {"executor_type": staticmethod(executor_type), "create_event": lambda _: ClusterEvent(hpc)},
    )
    [name] = [each for each in test.split("|") if hasattr(case_class, each)]
    result = case_class(name).run()
    assert result.testsRun == 1 and result.wasSuccessful(), result.errors + result.failures
