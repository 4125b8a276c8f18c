"""The client's story on a real Slurm: sweep, watch, collect, retry, in a few lines."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from resop_client import LoginStore, Resop, errors
from tests.support.ports import HOST
from tests.support.service import Caller, Embedded

pytestmark = pytest.mark.timeout(240)

SCRIPT = """\
#!/bin/sh
echo "$X0 $SEED" >{folder}/out-$SLURM_ARRAY_TASK_ID.txt
echo '{{"sum": '$SEED'}}' >{folder}/$SEED.json
test $SEED -ne 3 || test -e {folder}/repaired
"""


@pytest.fixture
def hpc(alice: Caller, running: Embedded, tmp_path: Path) -> Iterator[Resop]:
    address = f"http://{HOST}:{running.ports[0]}"
    with Resop(address, alice.token, store=LoginStore(tmp_path)) as client:
        yield client


def test_sweep_is_watched_collected_and_its_failures_run_again(hpc: Resop, tmp_path: Path) -> None:
    folder = f"client-{secrets.token_hex(4)}"
    hpc.utils.mkdir(folder)
    script = tmp_path / "run.sh"
    script.write_text(SCRIPT.format(folder=folder))
    sweep = hpc.sweep(script, X0=[0.5, 1.5], SEED=range(1, 4), output=f"{folder}/%a.out")
    assert sweep.runs == 6
    *_, last = sweep.progress(120)
    assert last == (6, 6)
    outcome = sweep.wait()
    assert outcome.ended and not outcome.succeeded and outcome.states["FAILED"] == 2
    table = sweep.results(f"{folder}/out-{{index}}.txt", f"{folder}/{{SEED}}.json")
    assert table.columns[:3] == ["index", "X0", "SEED"]
    assert table.column("SEED") == [1, 2, 3] * 2 and table.column("X0") == [0.5] * 3 + [1.5] * 3
    row = table[4]
    assert (row.state, row.exit_code) == ("COMPLETED", 0)
    assert row[f"{folder}/out-{{index}}.txt"] == "1.5 2\n"
    assert row[f"{folder}/{{SEED}}.json"] == {"sum": 2}
    hpc.files.write(f"~/{folder}/repaired", b"")
    again = sweep.retry_failed(overwrite=True)
    assert again.runs == 2 and again.wait(120).succeeded
    found = hpc.find_sweep(sweep.job)
    assert {each.state for each in found.results()} == {"COMPLETED"}
    hpc.utils.rm(folder, recursive=True)


def test_a_job_that_does_not_exist_is_named(hpc: Resop) -> None:
    with pytest.raises(errors.JobNotFound, match="there is no job 99999999"):
        hpc.slurm.job(id="99999999")
