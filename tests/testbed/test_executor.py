"""Functions as jobs of a real Slurm, through concurrent.futures."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import cloudpickle
import pytest

from resop_client import LoginStore, Resop, errors
from resop_client.executor import SlurmExecutor
from tests.support.cluster_python import skip_unless_ours
from tests.support.ports import HOST
from tests.support.service import Caller, Embedded
from tests.support.services import eventually

pytestmark = pytest.mark.timeout(240)

BASE = "~/.local/share/resop/calls"


@pytest.fixture
def hpc(alice: Caller, running: Embedded, tmp_path: Path) -> Iterator[Resop]:
    skip_unless_ours()
    address = f"http://{HOST}:{running.ports[0]}"
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the cluster does not have it
    with Resop(address, alice.token, store=LoginStore(tmp_path)) as client:
        yield client


def folders(hpc: Resop) -> list[str]:
    """Return what is left of executors."""
    text: str = hpc.core.run(command=f"ls -A {BASE} 2>/dev/null", check=False).stdout
    return text.split()


def jobs_of(hpc: Resop, name: str) -> list[str]:
    command = f"sacct -X -n -P -o jobid,state --name {name} -S now-1hour"
    return sorted(hpc.core.run(command=command).stdout.split())


def test_map_is_one_array_in_order_and_nothing_is_left(hpc: Resop) -> None:
    scale, before, name = 10, folders(hpc), f"mapped-{secrets.token_hex(4)}"
    with hpc.executor(time_limit=5, job_name=name, max_workers=3) as pool:
        assert isinstance(pool, SlurmExecutor)
        found = list(pool.map(lambda x, y: (scale * x + y, os.getuid()), range(7), [1] * 7))
        assert [value for value, _ in found] == [scale * x + 1 for x in range(7)]
        assert {uid for _, uid in found} != {os.getuid()}
        assert len(folders(hpc)) == len(before) + 1
    assert folders(hpc) == before
    assert eventually(lambda: len(jobs_of(hpc, name)) == 7), "the accounting knows all of them"
    jobs = jobs_of(hpc, name)
    assert len({each.partition("_")[0] for each in jobs}) == 1
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(len, "")


class Melted(Exception):
    pass


def melt(temperature: int) -> int:
    if temperature > 1:
        raise Melted(temperature)
    return temperature


def test_exceptions_ends_and_cancelled_calls(hpc: Resop) -> None:
    before = folders(hpc)
    with hpc.executor(time_limit=5, job_name="ends") as pool:
        results = pool.map(melt, range(4), chunksize=2)
        killed = pool.submit(os.kill, 0, 9)  # its own process group
        longest = pool.submit(time.sleep, 200)
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(Melted) as raised:
            next(results)
        assert raised.value.args == (2,) and "in melt" in str(raised.value.__cause__)
        with pytest.raises(errors.CallFailed, match=r"job \d+_\d+ ended without a result: FAILED"):
            killed.result(200)
        assert longest.cancel()
        done, _ = futures.wait([longest], timeout=200)
        assert done == {longest} and longest.cancelled()
    assert folders(hpc) == before
    assert eventually(lambda: not any(each.endswith("RUNNING") for each in jobs_of(hpc, "ends")))


def test_a_job_that_never_starts_and_a_wrong_python_are_named(hpc: Resop) -> None:
    before = folders(hpc)
    for python, message in (
        ("python4", r"the cluster has no 'python4'.*not found"),
        (
            "echo Python 3.7.1 #",
            r"is Python 3\.7\.1, and this program runs on Python .* same minor",
        ),
        ("false", "'false' on the cluster failed"),
    ):
        with pytest.raises(errors.WrongPython, match=message):
            hpc.executor(python=python)
    with hpc.executor(partition="debug", time_limit="5:00:00") as pool:
        future = pool.submit(len, "")
        with pytest.raises(errors.ResopError, match=r"time limit|PartitionTimeLimit"):
            future.result(200)
    refused = pytest.raises(errors.ResopError, match="nowhere")
    with hpc.executor(partition="nowhere") as pool, refused:
        list(pool.map(len, ["", ""]))
    assert folders(hpc) == before
