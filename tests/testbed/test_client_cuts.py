"""A followed job, a transfer and a sweep, over a connection that is cut ten times each."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from resop_client import LoginStore, Resop, clock
from resop_client._sync import files
from tests.support.cutting_proxy import CuttingProxy
from tests.support.ports import HOST
from tests.support.service import Caller, Embedded

pytestmark = pytest.mark.timeout(240)

CUTS = 10
SCRIPT = "#!/bin/sh\necho $SLURM_JOB_ID $N >>{folder}/runs\nsleep 0.5\necho $N >{folder}/$N.txt\n"


@pytest.fixture
def folder(alice: Caller, running: Embedded, tmp_path: Path) -> Iterator[str]:
    name = f"cuts-{secrets.token_hex(4)}"
    with Resop(f"http://{HOST}:{running.ports[0]}", alice.token) as hpc:
        hpc.utils.mkdir(name)
        yield name
        hpc.utils.rm(name, recursive=True)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten cuts in a row make a client wait for a minute otherwise."""
    monkeypatch.setattr(clock, "MAX_PAUSE", 1.0)


@contextmanager
def cut_client(running: Embedded, alice: Caller, store: Path, after_bytes: int) -> Iterator[Resop]:
    """Yield a client whose first ten connections are cut; check that they were."""
    with CuttingProxy(running.ports[0], cuts=CUTS, after_bytes=after_bytes) as proxy:
        with Resop(f"http://{HOST}:{proxy.port}", alice.token, store=LoginStore(store)) as hpc:
            hpc.service()  # it exists: from now on the client waits for it
            yield hpc
        assert proxy.cuts_left == 0, f"only {CUTS - proxy.cuts_left} connections were cut"


def use_up(hpc: Resop) -> None:
    """Send requests until the last cut has happened, if there were fewer requests before."""
    for _ in range(20):
        hpc.core.run(command="true")


def test_a_followed_job(alice: Caller, running: Embedded, folder: str, tmp_path: Path) -> None:
    lines = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $i; sleep 0.4; done"
    script = f"#!/bin/sh\necho $SLURM_JOB_ID >>{folder}/jobs\n{lines}\n"
    with cut_client(running, alice, tmp_path, 1200) as hpc:
        job = hpc.slurm.submit(script=script, output=f"{folder}/out")["job"]
        task = hpc.start("slurm.wait", id=str(job))
        while not task.refresh(0.3).ended:
            hpc.slurm.output(id=str(job))
        events = list(task.events())
        assert [each.kind for each in events].count("done") == 1
        assert task.result().succeeded
        assert hpc.files.read_text(f"~/{folder}/jobs").split() == [str(job)]
        text = hpc.files.read_text(f"~/{folder}/out")
        use_up(hpc)
    assert text == "".join(f"line {each}\n" for each in range(1, 13))


def test_a_transfer(
    alice: Caller,
    running: Embedded,
    folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "PART_BYTES", 1 << 19)
    content = secrets.token_bytes(4 << 20)
    (tmp_path / "data").write_bytes(content)
    with cut_client(running, alice, tmp_path, 600_000) as hpc:
        written = hpc.files.upload(tmp_path / "data", f"~/{folder}/data")
        assert written.size == len(content)
        hpc.files.download(f"~/{folder}/data", tmp_path / "back", checksum=True)
        assert (tmp_path / "back").read_bytes() == content
        upload = hpc.files.in_parts(f"~/{folder}/parts")
        for start in range(0, len(content), 1 << 20):
            upload.send(content[start:][: 1 << 20], last=start + (1 << 20) == len(content))
        assert hpc.files.read(f"~/{folder}/parts") == content
        assert hpc.utils.ls(folder, almost_all=True).split() == ["data", "parts"]


def test_a_sweep(alice: Caller, running: Embedded, folder: str, tmp_path: Path) -> None:
    with cut_client(running, alice, tmp_path, 1500) as hpc:
        script = SCRIPT.format(folder=folder)
        sweep = hpc.sweep(script, N=range(1, 9), at_once=2, output=f"{folder}/%a.out")
        *_, last = sweep.progress(120)
        assert last == (8, 8)
        table = sweep.results(f"{folder}/{{N}}.txt")
        assert table.column(f"{folder}/{{N}}.txt") == list(range(1, 9))
        runs = hpc.files.read_text(f"~/{folder}/runs").splitlines()
        assert sorted(int(each.split()[1]) for each in runs) == list(range(1, 9))
        use_up(hpc)
