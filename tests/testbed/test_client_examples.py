"""The client's examples, run as a newcomer runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resop_client import Resop
from tests.support.cluster_python import skip_unless_ours
from tests.support.ports import HOST, free_port
from tests.support.service import Caller, Embedded
from tests.support.services import ROOT, eventually

pytestmark = pytest.mark.timeout(240)

EXAMPLES = ROOT / "client" / "examples"
MAX_LINES = {"portal.py": 50}

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environ(alice: Caller, running: Embedded, tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT / "client"),
        "RESOP_URL": f"http://{HOST}:{running.ports[0]}",
        "RESOP_TOKEN": alice.token,
    }


@pytest.fixture
def run(environ: dict[str, str], tmp_path: Path) -> Run:
    def run_example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(EXAMPLES / name), *arguments],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    return run_example


@pytest.fixture
def hpc(environ: dict[str, str]) -> Iterator[Resop]:
    with Resop(environ["RESOP_URL"], environ["RESOP_TOKEN"]) as client:
        yield client


def test_each_is_short() -> None:
    sizes = {each.name: len(each.read_text().splitlines()) for each in EXAMPLES.glob("*.py")}
    assert sizes
    assert not {name: size for name, size in sizes.items() if size > MAX_LINES.get(name, 40)}


def test_sweep_is_collected(run: Run, hpc: Resop, tmp_path: Path) -> None:
    done = run("plot_sweep.py")
    assert done.stdout == "12 runs, highest: 1.578\n", done.stdout + done.stderr
    assert (tmp_path / "heights.png").exists() or "pip install matplotlib" in done.stderr
    lines = (tmp_path / "heights.csv").read_text().splitlines()
    assert lines[0].startswith("index,X0,V0,state") and len(lines) == 13
    hpc.utils.rm("pendulum", recursive=True)


def test_function_is_mapped(run: Run) -> None:
    skip_unless_ours()
    done = run("map_function.py")
    lines = done.stdout.splitlines()
    assert len(lines) == 12 and lines[0].startswith("0.1 0.0 0.00"), done.stderr


def test_files_are_read(run: Run) -> None:
    done = run("read_files.py")
    assert done.stdout == "6\n['example/a.csv']\n", done.stderr


def test_ci_has_the_exit_code_of_the_job(run: Run, tmp_path: Path) -> None:
    (tmp_path / "job.sh").write_text("#!/bin/sh\necho tested; exit 3\n")
    done = run("submit_in_ci.py", "job.sh", "partition=debug", "time_limit=5")
    assert done.returncode == 3, done.stderr
    assert re.fullmatch(r"job \d+ is submitted\ntested\njob \d+: FAILED\n", done.stdout)
    done = run("submit_in_ci.py", "job.sh", "partition=nowhere")
    assert done.returncode == 1 and "nowhere" in done.stderr and "Traceback" not in done.stderr


def test_portal_shows_nodes_and_jobs(environ: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, str(EXAMPLES / "portal.py")]
    with subprocess.Popen(
        command, cwd=tmp_path, env={**environ, "PORT": str(port)}, stderr=subprocess.DEVNULL
    ) as portal:
        try:
            page = eventually_read(f"http://{HOST}:{port}/")
        finally:
            portal.terminate()
    assert page.count("<table") == 2 and "IDLE" in page and "<th>reason" in page


def eventually_read(url: str) -> str:
    page = ""

    def answers() -> bool:
        nonlocal page
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                page = answer.read().decode()
        except OSError:
            return False
        return True

    assert eventually(answers)
    return page


def test_cells_of_the_notebook_run(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RESOP_URL", "RESOP_TOKEN"):
        monkeypatch.setenv(name, environ[name])
    notebook = json.loads((EXAMPLES / "sweep.ipynb").read_text())
    cells = ["".join(each["source"]) for each in notebook["cells"] if each["cell_type"] == "code"]
    names: dict[str, Any] = {}
    results = []
    for cell in cells:
        *lines, last = cell.splitlines()
        exec("\n".join(lines), names)
        results.append(eval(last, names))
    assert results[1] == {"COMPLETED": 4}
    assert results[2] == [(n, n * n) for n in range(1, 5)]
