"""Folders named like our packages, where resop is started, neither break nor replace anything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.decoys import PACKAGES, make_decoys
from tests.support.service import RESOP

pytestmark = pytest.mark.slow

CELERY = Path(sys.executable).with_name("celery")
LOAD_CATALOG = "from resop.actions.catalog import load_catalog; print(*load_catalog().operators)"
WAYS: dict[str, tuple[Sequence[str | Path], str]] = {
    "console script": ([*RESOP, "check"], ""),
    "python -P -m": ([sys.executable, "-P", "-m", "cli.main", "check"], ""),
    "python -m": ([sys.executable, "-m", "cli.main", "check"], "cli"),
    "python -m api.main": ([sys.executable, "-m", "api.main"], "api"),
    "python -m worker.main": ([sys.executable, "-m", "worker.main"], "worker"),
    "celery": ([CELERY, "-A", "worker.main", "report"], "worker"),
    "import": ([sys.executable, "-c", LOAD_CATALOG], ""),
}
"""Each way to start resop, and the package that Python or Celery looks up in the current folder by
itself: such a folder is what the command line asked for."""


@pytest.mark.parametrize("regular", [True, False], ids=["packages", "plain folders"])
@pytest.mark.parametrize("way", WAYS)
def test_decoys_are_not_imported(tmp_path: Path, way: str, regular: bool) -> None:
    command, asked_for = WAYS[way]
    make_decoys(tmp_path, set(PACKAGES) - {asked_for}, regular=regular)
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    printed = done.stdout + done.stderr
    assert "a decoy was imported" not in printed and "Traceback" not in printed
    if way.endswith(".main"):  # no cluster is configured: that far it came
        assert done.returncode == 1 and "CLUSTER_ADDRESS" in done.stderr
    else:
        assert done.returncode == 0, printed
        assert way == "celery" or "slurm" in done.stdout


def test_folder_imported_as_operators_before_is_refused(tmp_path: Path) -> None:
    make_decoys(tmp_path, {"operators"}, regular=False)
    done = subprocess.run(
        [sys.executable, "-c", f"import operators; {LOAD_CATALOG}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert f"BrokenOperator: {tmp_path}/operators was imported as 'operators'" in done.stderr
