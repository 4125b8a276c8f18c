"""The parts of the command line: values as people read them, sweeps, stubs, two commands in one."""

from __future__ import annotations

import ast
import contextlib
import io
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from cli.client import client_main
from cli.command_names import COMMAND_NAMES
from cli.commands import COMMANDS
from resop_client.cli import human, main, service_commands, tables
from resop_client.cli.columns import Column
from resop_client.cli.commands.sweep import parameter
from resop_client.cli.schema import Schema
from resop_client.cli.stub_text import stub_text
from tests.unit.client.cli.command_line import DOCUMENT

ROOT = Path(__file__).parents[4]


def test_sizes_times_and_durations_are_short() -> None:
    now = datetime(2026, 11, 30, 18, 0, tzinfo=UTC)
    at = now.astimezone().replace(hour=9, minute=5)
    for shown, expected in (
        (human.size(0), "0 B"),
        (human.size(1023), "1.0 KiB"),
        (human.size(1536 << 20), "1.5 GiB"),
        (human.size(300 << 40), "300 TiB"),
        (human.size(None), ""),
        (human.duration(0.25), "0.2 s"),
        (human.duration(59.6), "1 min 0 s"),
        (human.duration(3661), "1 h 1 min"),
        (human.duration(90_000), "1 d 1 h"),
        (human.duration("UNLIMITED"), "UNLIMITED"),
        (human.moment(at.isoformat(timespec="seconds"), now), "09:05"),
        (human.moment("2026-03-01T12:00:00Z", now)[:6], "01 Mar"),
        (human.moment("2024-03-01T12:00:00Z", now), "2024-03-01"),
        (human.moment("soon"), "soon"),
        (human.text({"a": [True, None, 0.1]}), "a=yes,,0.1"),
    ):
        assert shown == expected


def test_values_of_a_sweep_are_read_as_they_are_written() -> None:
    for text, expected in {
        "X0=0.1:2.0:0.1": {"start": 0.1, "stop": 2.0, "step": 0.1},
        "N=1:9": {"start": 1, "stop": 9},
        "SEED=1..10": {"start": 1, "stop": 10},
        "T=1,2.5,hot,007": [1, 2.5, "hot", "007"],
        "D=2026-11-30": ["2026-11-30"],
        "H=12:30:x": ["12:30:x"],
        "E=1e-3": [0.001],
        "P=a=b": ["a=b"],
    }.items():
        name, _, _ = text.partition("=")
        assert parameter(text) == (name, expected)
    for text in ("X", "X=", "=1"):
        with pytest.raises(click.BadParameter, match="NAME=VALUES"):
            parameter(text)


def test_a_table_leaves_out_columns_that_do_not_fit() -> None:
    from rich.console import Console

    rows = [{"a": "x" * 10, "b": "y" * 10, "c": "z" * 10, "d": "w" * 30}]
    columns = [Column(name, name) for name in "abcd"]
    for width, hidden in ((80, 0), (40, 1), (20, 1)):
        console = Console(width=width, force_terminal=True, file=io.StringIO())
        assert tables.print_table(console, rows, columns) == hidden
    assert tables.state_style("RUNNING") == "green" and tables.state_style("DOWN*") == "red"
    assert tables.state_style("name") == ""


def test_stubs_are_python_with_the_types_of_the_schema() -> None:
    text = stub_text(Schema(DOCUMENT), "http://hpc.example")
    tree = ast.parse(text)
    classes = {each.name: each for each in tree.body if isinstance(each, ast.ClassDef)}
    assert {"Hpc", "Site", "Slurm", "Frozen"} <= classes.keys()
    assert "parts: list[Frozen]" in ast.unparse(classes["Frozen"])
    method = ast.unparse(classes["Site"])
    assert "def freeze(self, *, volume: str, mode: Literal['soft', 'hard'] | None=" in method
    assert "def show(self, *arguments: str, long: bool | None=..." in method
    assert ast.unparse(classes["Hpc"].body[0]) == "site: Site"


def test_one_program_has_the_commands_of_both_distributions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    points = project["entry-points"]["resop.commands"]
    assert list(COMMANDS) == list(COMMAND_NAMES) == list(points)
    assert set(points.values()) == {"cli.main:main_of_service"}
    called: list[str] = []
    monkeypatch.setattr(
        service_commands, "_entry_points", lambda name: [_Point(name)] if name in points else []
    )
    monkeypatch.setattr(main, "run", lambda words: called.append(f"client {words}"))

    class _Point:
        def __init__(self, name: str) -> None:
            self.name = name

        def load(self) -> object:
            return lambda: called.append(self.name)

    for line, of_client in {
        "up --demo": False,
        "api": False,
        "api --help": False,
        "api GET /limits": True,
        "api get /limits": True,
        "keys": False,
        "keys --user ada": False,
        "keys list": True,
        "keys create ci": True,
        "nodes": True,
        "slurm nodes": True,
        "--help": True,
        "": True,
    }.items():
        words = line.split()
        assert (client_main(words) is not None) == of_client, line
        monkeypatch.setattr("sys.argv", ["resop", *words])
        called.clear()
        with contextlib.suppress(SystemExit):
            main.main()
        assert called == [f"client {words}" if of_client else words[0]], line
