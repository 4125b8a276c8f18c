"""Test that the benchmarks run and write their table; the figures here mean nothing."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.phases import PHASES

SMALL = ["-n", "2", "-r", "2", "--file", "1", "--users", "2", "--tasks", "3", "--sizes", "60,120"]
SMALL += ["--nodes", "20", "--queue", "30"]


def test_rows_are_printed_and_written_as_json(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    command = [sys.executable, "-m", "bench", "history", "files", "concurrency", "answers"]
    command += SMALL
    command += ["--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    table = json.loads(file.read_text())
    assert table["rounds"] == 2 and table["machine"] and table["date"]
    rows: dict[str, Any] = {row["work"]: row for row in table["rows"]}
    expected = {
        "a page of 50 from 120 tasks in SQLite": "newest: p99 ms",
        "memory growth during transfers": "API by MiB",
        "2 concurrent users, cold sessions": "failed",
        "an idle session": "KiB in the worker",
        "3 concurrent tasks in one worker": "KiB per task",
        "overview: 20 nodes and 30 jobs": "processor seconds",
    }
    for work, figure in expected.items():
        figures = rows[work]["figures"]
        assert math.isfinite(figures[figure])
        assert all(
            f"{name} {value:g}" in " ".join(done.stdout.split()) for name, value in figures.items()
        )
    for direction in ("up", "down"):
        row = rows[f"a file of 1 MiB, {direction}"]
        assert row["goal"] in done.stdout and row["ratio_of"] == "rate"
        assert {name: each["failed"] for name, each in row["results"].items()} == {
            "resop": 0,
            "sftp": 0,
        }
        ratio = row["ratios"]["sftp"]
        assert 0 < ratio["min"] <= ratio["median"] <= ratio["max"]
    assert all(row["goal"] for row in rows.values())


def test_profile_prints_phases_and_memory_stages() -> None:
    command = [sys.executable, "-m", "bench.profile", "steps", "memory", "-n", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    for mark in ("step ended", "between steps"):
        assert re.search(rf"^ +\d+\.\d\d .* {re.escape(PHASES[mark])}$", done.stdout, re.MULTILINE)
    stages = re.findall(r"^ +(\d+\.\d)  (?:the|with|when) ", done.stdout, re.MULTILINE)
    assert len(stages) == 4
    assert sorted(map(float, stages)) == list(map(float, stages))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["crowds"], "no such part: crowds"), (["slurm"], "slurm needs --testbed")],
)
def test_impossible_part_is_refused_before_anything_is_measured(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
