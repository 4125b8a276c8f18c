"""scripts/test-slurm and scripts/debian-root: what they say where no root can be made."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
IS_ROOT = os.geteuid() == 0
NOWHERE = "nowhere"  # no release of Debian
FAILING = """\
echo "E: no such mirror"
for word; do case $word in /*/root) mkdir "$word/usr" ;; esac; done
exit 1
"""


def run(program: str, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / program, *words],
        env={**os.environ, "PACKAGES": "no", **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def put(folder: Path, name: str, text: str) -> str:
    """Write a program, and return a PATH that finds it first."""
    program = folder / "bin" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"


@pytest.mark.parametrize("words", [(), ("21.08",), ("--answers", "22"), (".*",)])
def test_unknown_release_is_refused_with_those_that_are_known(words: tuple[str, ...]) -> None:
    done = run("test-slurm", *words)
    assert done.returncode == 2
    assert done.stderr.rstrip().endswith("VERSION is one of 22.05 24.11 26.05")


def test_reason_is_shown_to_others_than_root(tmp_path: Path) -> None:
    """A part of `make test` is skipped, and fails where CI=true; what was asked for fails."""
    path = put(tmp_path, "id", "echo 1000")
    environ = {"PATH": path, "CI": "", "ROOTS": str(tmp_path / "roots")}
    answers, asked = ("--answers", "26.05"), ("26.05",)
    skipped, failed = run("test-slurm", *answers, **environ), run("test-slurm", *asked, **environ)
    in_ci = run("test-slurm", *answers, **environ | {"CI": "true"})
    reason = "There can be no root of Debian forky: that needs root's rights"
    for done, status in ((skipped, 0), (failed, 69), (in_ci, 69)):
        assert done.returncode == status and reason in done.stderr, done
    assert "Skipped: the tests on Slurm 26.05" in skipped.stderr
    assert not (tmp_path / "roots").exists()


@pytest.mark.skipif(not IS_ROOT, reason="a root needs root's rights")
def test_half_a_root_is_none(tmp_path: Path) -> None:
    """debootstrap is started three times, and its last words are shown."""
    put(tmp_path, "debootstrap", FAILING)
    for slow in ("apt-config", "apt-get"):
        put(tmp_path, slow, "")
    path = put(tmp_path, "sleep", "")
    roots = tmp_path / "roots"
    done = run("debian-root", NOWHERE, "true", PATH=path, ROOTS=str(roots), CI="")
    assert done.returncode == 69
    log = (roots / f"{NOWHERE}.log").read_text()
    assert log.count("E: no such mirror") == 3 and "E: no such mirror" in done.stderr
    assert (roots / f"{NOWHERE}.part" / "root" / "usr").is_dir()
    assert not (roots / NOWHERE).exists()
