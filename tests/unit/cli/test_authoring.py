"""`resop new operator` and `resop test`, and the warnings that `resop up` prints."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import operators
from cli.commands import run
from cli.new_operator import new_operator
from cli.play_scenarios import operator_folders, play_scenarios
from cli.start_warnings import start_warnings
from resop.actions.author_warnings import find_warnings
from resop.actions.catalog import load_catalog
from resop.config.settings import Settings
from resop.errors import SetupError

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a folder for operators in an empty folder; forget their modules afterwards."""
    monkeypatch.setattr(operators, "__path__", list(operators.__path__))
    for name in (*Settings.model_fields, "RESOP_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path / "site"
    for name in set(sys.modules) - before:
        if name.startswith("operators."):
            del sys.modules[name]


def resop(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run a command line; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["resop", *words])
    try:
        run()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0


def test_new_operator_loads_without_warnings_and_passes_its_tests(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert resop(monkeypatch, "new", "operator", "Begun_1", "--in", "site") == 0
    printed = capsys.readouterr().out
    assert f"\n  resop test site/Begun_1\n  OPERATORS_PATH={site} resop check\n" in printed
    assert "wrote site/Begun_1/operations/disk_space.py\n" in printed
    assert resop(monkeypatch, "test", "site/Begun_1") == 0
    assert capsys.readouterr().out == "Begun_1:uptime: 2 passed\nBegun_1:disk_space: 3 passed\n"
    monkeypatch.setenv("OPERATORS_PATH", "site")
    assert resop(monkeypatch, "test") == 0
    catalog = load_catalog([site])
    assert list(find_warnings(catalog, [site])) == []
    assert "Begun_1" in catalog.operator("begun-1").description
    for file in site.rglob("*.py"):
        assert ast.get_docstring(ast.parse(file.read_text()))


def test_name_that_no_operator_can_have_is_refused(site: Path) -> None:
    (site / "My_Site").mkdir(parents=True)
    cases = {
        "my-new site": "'my-new site' is no name of an operator: it begins with a letter and has "
        "letters, digits and '_', such as my_new_site",
        "../up": "'../up' is no name of an operator: it begins with a letter and has letters, "
        "digits and '_', such as up",
        "9lives": "'9lives' is no name of an operator: it begins with a letter and has letters, "
        "digits and '_'",
        "": "'' is no name of an operator: it begins with a letter and has letters, digits and '_'",
        "class": "'class' is no name of an operator: Python reserves it; take class_site",
        "x" * 65: "a name may have 64 characters, not 65",
        "tasks": "/tasks is a path of the API: use another name",
        "LinuxUser": "resop ships an operator 'LinuxUser': use another name",
        "mysite": f"{site}/My_Site exists already",
    }
    for name, message in cases.items():
        with pytest.raises(SetupError) as refused:
            new_operator(name, site)
        assert refused.value.message == message
    assert [each.name for each in site.iterdir()] == ["My_Site"]
    (site / "file").touch()
    with pytest.raises(SetupError, match="Not a directory"):
        new_operator("mine", site / "file")


def test_failed_scenario_is_shown_with_the_difference(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new_operator("failing", site)
    scenarios = site / "failing/tests/disk_space.yml"
    scenarios.write_text(scenarios.read_text().replace("-- /tmp", "-- /var"))
    (site / "failing/tests/uptime.yml").unlink()
    assert not play_scenarios(operator_folders([site]))
    printed = capsys.readouterr().out
    assert printed.startswith(
        "failing:disk_space: FAILED: the file system of a folder\n    expected: 'df "
    )
    assert printed.endswith(
        "\nfailing:uptime: no scenarios\nfailing:disk_space: 2 passed, 1 failed\n"
    )


def test_fault_of_a_test_itself_is_explained(site: Path) -> None:
    new_operator("faulty", site)
    (site / "faulty/tests/up.yml").write_text("- {name: x, output: 1}\n")
    with pytest.raises(SetupError, match=r"tests/up\.yml: faulty has no action 'up'"):
        play_scenarios([site / "faulty"])
    (site / "faulty/tests/up.yml").unlink()
    (site / "faulty/tests/uptime.yml").write_text("- {nam: x}\n")
    with pytest.raises(SetupError, match=r"uptime\.yml:1: .*unknown key 'nam'"):
        play_scenarios([site / "faulty"])
    with pytest.raises(SetupError, match="gone is not a folder"):
        play_scenarios([site / "gone"])
    with pytest.raises(SetupError, match="OPERATORS_PATH names no operators"):
        operator_folders([])


def test_scenarios_of_shipped_operators_can_be_played(site: Path) -> None:
    assert play_scenarios([Path(operators.__path__[0]) / "template"])


def documented(begin: str) -> str:
    """Return the block of docs/scenarios.md that begins with a line."""
    text = (DOCS / "scenarios.md").read_text(encoding="utf-8")
    block = re.search(rf"^    {re.escape(begin)}.*?\n(?=\S|\Z)", text, re.MULTILINE | re.DOTALL)
    assert block is not None, begin
    return "".join(line[4:] or "\n" for line in block[0].splitlines(keepends=True))


def test_example_of_the_documentation_passes(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = site / "mysite"
    for path, begin in {
        "operations/new_project.py": '"""Create a project: ',
        "operations/hello.py": "",
        "tests/new_project.yml": "- name: a project has an account, a group and a folder",
        "tests/hello.yml": "- name: says hello",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        text = documented(begin) if begin else HELLO
        (folder / path).write_text(text)
    assert play_scenarios([folder]), capsys.readouterr().out
    assert capsys.readouterr().out == "mysite:hello: 2 passed\nmysite:new_project: 3 passed\n"
    namespace: dict[str, object] = {}
    exec(documented("from operators.mysite.operations.new_project import"), namespace)
    test = namespace["test_project_gets_the_number_of_its_group"]
    assert callable(test)
    test()


HELLO = '''"""Says hello."""
from resop import Shell, operation

@operation
def hello(shell: Shell, name: str) -> str:
    return shell.run("echo", "hello", name).stdout.strip()
'''


def test_warnings_of_a_start_are_found_in_both_formats_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "resop.log"
    log.write_text("2026-11-29T12:00:00.000Z WARNING resop operators: before\n")
    since = log.stat().st_size
    entry = {"level": "WARNING", "event": "operators: as JSON"}
    with log.open("a") as stream:
        stream.write(
            "2026-11-29T12:00:00.000Z WARNING resop operators: site/operation: it is not read\n"
            "2026-11-29T12:00:00.000Z WARNING resop weak configuration: HOST: is open\n"
            "2026-11-29T12:00:00.000Z WARNING resop weak configuration: HOST: is open\n"
            "2026-11-29T12:00:00.000Z WARNING worker the clock is slow\n"
            "2026-11-29T12:00:00.000Z INFO api operators: 3\n"
            f"{json.dumps(entry)}\n{json.dumps({**entry, 'level': 'INFO', 'event': 'x'})}\n"
            "[1]\nnot a line of the log\n"
        )
    assert list(start_warnings(log, since)) == [
        "operators: site/operation: it is not read",
        "weak configuration: HOST: is open",
        "operators: as JSON",
    ]
