"""The table of speed is taken and written down; its figures here are of no use to anybody."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.parts import PARTS

SMALL = ["-n", "2", "-r", "2", "--file", "1", "--users", "2", "--tasks", "3", "--sizes", "60,120"]


def test_rows_are_printed_and_written_as_json(tmp_path: Path) -> None:
    made = tmp_path / "made.json"
    command = [sys.executable, "-m", "bench", "history", "files", "crowd", *SMALL]
    command += ["--json", str(made)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    table = json.loads(made.read_text())
    assert table["rounds"] == 2 and table["machine"] and table["date"]
    rows: dict[str, Any] = {row["work"]: row for row in table["rows"]}
    wanted = {
        "50 of 120 tasks in SQLite": "newest: p99 ms",
        "meanwhile the service grew": "API by MiB",
        "2 users at once, cold": "failed",
        "an idle session": "KiB in the worker",
        "3 tasks at once in one worker": "KiB for each",
    }
    for work, figure in wanted.items():
        figures = rows[work]["figures"]
        assert math.isfinite(figures[figure])
        assert all(
            f"{name} {value:g}" in " ".join(done.stdout.split()) for name, value in figures.items()
        )
    for way in ("up", "down"):
        row = rows[f"a file of 1 MiB {way}"]
        assert row["goal"] in done.stdout and row["ratio_of"] == "rate"
        assert {name: each["failed"] for name, each in row["ways"].items()} == {
            "resop": 0,
            "sftp": 0,
        }
        ratio = row["ratios"]["sftp"]
        assert 0 < ratio["min"] <= ratio["median"] <= ratio["max"]
    assert all(row["goal"] for row in rows.values())


def test_what_time_and_memory_go_to_is_told() -> None:
    command = [sys.executable, "-m", "bench.profile", "steps", "memory", "-n", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    for part in ("step ended", "between steps"):
        assert re.search(rf"^ +\d+\.\d\d .* {re.escape(PARTS[part])}$", done.stdout, re.MULTILINE)
    stages = re.findall(r"^ +(\d+\.\d)  (?:the|with|when) ", done.stdout, re.MULTILINE)
    assert len(stages) == 4
    assert sorted(map(float, stages)) == list(map(float, stages))


@pytest.mark.parametrize(
    ("words", "said"),
    [(["crowds"], "no such part: crowds"), (["slurm"], "slurm needs --testbed")],
)
def test_what_cannot_be_measured_is_said_before_anything_is(
    words: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
