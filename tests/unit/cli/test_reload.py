"""A change of an operator's file restarts the API and the worker if it can be loaded."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from cli.child_processes import ChildProcess
from cli.reload import Reloader
from cli.restarts import RestartedChild


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of the next messages of `resop check`, empty ones for success."""
    faults: list[str] = []

    def run(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        fault = faults.pop(0)
        return subprocess.CompletedProcess([], int(bool(fault)), "", fault)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr("cli.reload.SCAN_SECONDS", 0)
    return faults


def child(log: Path) -> ChildProcess:
    process: Any = type("Process", (), {"returncode": 0, "poll": lambda _: 0})()
    return ChildProcess("api", ["api"], {}, process, log, 0)


def test_changed_operators_are_loaded_again_unless_they_are_broken(
    tmp_path: Path, checks: list[str]
) -> None:
    file = tmp_path / "site/operations/hello.py"
    file.parent.mkdir(parents=True)
    file.write_text("x = 1\n")
    said: list[str] = []
    children = [child(tmp_path / "resop.log")]
    reloader = Reloader([tmp_path], children, said.append)
    assert list(reloader.children_to_restart()) == []
    (tmp_path / "site/notes.txt").write_text("no operator consists of this\n")
    assert list(reloader.children_to_restart()) == []

    checks += ["resop: hello.py:1: invalid syntax", "", "", ""]
    file.write_text("def broken(:\n")
    assert list(reloader.children_to_restart()) == []
    assert said == [
        f"{file} changed",
        "not loaded, continuing with the earlier state:\nresop: hello.py:1: invalid syntax",
    ]
    assert list(reloader.children_to_restart()) == []  # checked once for each change

    for change in (
        lambda: file.write_text("y = 2\n"),
        lambda: (tmp_path / "site/commands.yml").write_text("- command: ls\n"),
        file.unlink,
    ):
        change()
        assert list(reloader.children_to_restart()) == children
        assert list(reloader.children_to_restart()) == []
    assert checks == []


def test_restart_on_request_does_not_count_as_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "resop.log"
    log.write_text("")
    monkeypatch.setattr(ChildProcess, "restart", lambda self: said.append("started"))
    said: list[str] = []
    restarted = RestartedChild(child(log), said.append)
    restarted.restart_now()
    assert said == ["started"]
